"""SAP Cloud Integration: what passed through the integration flows of a tenant."""
