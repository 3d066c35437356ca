"""What Tieout says about itself and the flows to monitoring systems: metrics and traces."""
