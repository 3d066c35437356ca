"""What the embedded server lets which role do, how it can be reached, and how it is set up."""

from pathlib import Path

import asyncpg
import pytest

from collector.store.cluster import Role
from collector.store.embedded import Server
from tests.collector.store.test_embedded import ask, postmaster
from tests.support.postgres import Database


@pytest.mark.parametrize("role", ["tieout_owner", "tieout_app", "tieout_reader"])
def test_a_role_is_no_superuser_and_creates_neither_roles_nor_databases(
    server: Server, role: Role
) -> None:
    sql = """SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
             FROM pg_roles WHERE rolname = current_user"""
    assert ask(server, role, sql) is False
    assert ask(server, role, "SELECT current_user") == role


@pytest.mark.parametrize("role", ["tieout_app", "tieout_reader"])
def test_a_role_without_ownership_creates_no_table_and_no_schema(
    server: Server, role: Role
) -> None:
    for sql in ("CREATE TABLE public.mine (i int)", "CREATE SCHEMA mine"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(server, role, sql)


async def test_only_the_superuser_enters_the_maintenance_database(server: Server) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(server.dsn("tieout_app", "postgres"))


@pytest.mark.parametrize("role", ["postgres", "tieout_owner", "tieout_app", "tieout_reader"])
async def test_a_wrong_password_is_refused(server: Server, role: Role) -> None:
    wrong = server.dsn(role).replace(server.passwords[role], "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)


def test_the_server_listens_on_its_socket_only(server: Server) -> None:
    assert ask(server, "postgres", "SHOW listen_addresses") == ""
    pid = postmaster(server.data_dir)
    own = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    listening = 0
    for protocol in ("tcp", "tcp6", "unix"):
        lines = Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]
        inode = 6 if protocol == "unix" else 9
        found = [line for line in lines if f"socket:[{line.split()[inode]}]" in own]
        assert not found or protocol == "unix"
        listening += len(found)
    assert listening == 1


@pytest.mark.parametrize("_", range(2))
async def test_every_test_gets_a_database_of_its_own(database: Database, _: int) -> None:
    connection = await asyncpg.connect(database.dsn("tieout_owner"))
    await connection.execute("CREATE TABLE mine (i int)")  # fails if the other test's is here
    await connection.close()
