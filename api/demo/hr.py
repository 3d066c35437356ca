"""The HR system's side: the export of a worker report. The only place of names and addresses."""

from api.demo.company import Company, Worker

_COLUMNS = (
    "Employee_ID Legal_First_Name Legal_Last_Name Email_Work Company_Reference_ID "
    "Cost_Center_Reference_ID Manager_Employee_ID Worker_Status Hire_Date Last_Functionally_Updated"
)
COLUMNS = _COLUMNS.split()


def workers(company: Company) -> list[dict[str, str]]:
    """Show every worker as one row, by number."""
    return [_row(worker) for worker in company.workers]


def _row(worker: Worker) -> dict[str, str]:
    cells = (
        worker.employee_id,
        worker.first_name,
        worker.last_name,
        worker.email,
        worker.entity.code,
        worker.cost_centre,
        worker.manager_id,
        "Active",
        worker.hired.isoformat(),
        worker.updated.isoformat(timespec="milliseconds"),
    )
    return dict(zip(COLUMNS, cells, strict=True))
