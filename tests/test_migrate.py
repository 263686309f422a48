"""Migrations: once each, in order, by one process at a time."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from gateway.migrate import MIGRATIONS, MigrationError, migrate, pending


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations, to be applied in the order of their numbers."""
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one (id int PRIMARY KEY);")
    (tmp_path / "0002_two.sql").write_text("ALTER TABLE one ADD COLUMN two text;")
    return tmp_path


@pytest.fixture
async def empty_url(database_url: str, pool: asyncpg.Pool) -> str:
    """A database where nothing was ever applied."""
    await pool.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return database_url


async def test_files_are_applied_once_and_in_order(empty_url: str, folder: Path) -> None:
    assert await pending(empty_url, folder) == ["0001_one.sql", "0002_two.sql"]
    assert await migrate(empty_url, folder) == ["0001_one.sql", "0002_two.sql"]
    assert await migrate(empty_url, folder) == []
    assert await pending(empty_url, folder) == []


async def test_a_new_file_is_applied_to_a_database_in_use(empty_url: str, folder: Path) -> None:
    await migrate(empty_url, folder)
    (folder / "0003_three.sql").write_text("CREATE TABLE three ();")
    assert await pending(empty_url, folder) == ["0003_three.sql"]
    assert await migrate(empty_url, folder) == ["0003_three.sql"]


async def test_processes_that_start_at_once_apply_each_file_once(
    empty_url: str, folder: Path
) -> None:
    applied = await asyncio.gather(*(migrate(empty_url, folder) for _ in range(8)))
    assert max(applied) == ["0001_one.sql", "0002_two.sql"]
    assert sum(len(names) for names in applied) == 2


async def test_a_file_changed_after_it_was_applied_is_refused(empty_url: str, folder: Path) -> None:
    await migrate(empty_url, folder)
    (folder / "0001_one.sql").write_text("CREATE TABLE one (id bigint PRIMARY KEY);")
    for look in (migrate, pending):
        with pytest.raises(MigrationError, match=r"0001_one\.sql was changed after"):
            await look(empty_url, folder)


async def test_a_file_that_fails_leaves_nothing_and_the_files_before_it_stay(
    empty_url: str, folder: Path, pool: asyncpg.Pool
) -> None:
    (folder / "0002_two.sql").write_text("CREATE TABLE half (); SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"0002_two\.sql: division by zero; nothing of it"):
        await migrate(empty_url, folder)
    assert await pool.fetchval("SELECT to_regclass('half')") is None
    assert await pending(empty_url, folder) == ["0002_two.sql"]


async def test_a_release_that_knows_fewer_files_runs_on(empty_url: str, folder: Path) -> None:
    await migrate(empty_url, folder)
    (folder / "0002_two.sql").unlink()
    assert await migrate(empty_url, folder) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("3_three.sql", "name it like"),
        ("0002_again.sql", "has the number of"),
    ],
)
async def test_a_file_with_a_wrong_name_is_refused(
    empty_url: str, folder: Path, name: str, said: str
) -> None:
    (folder / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=said):
        await migrate(empty_url, folder)


async def test_a_folder_without_files_is_refused(empty_url: str, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="has no SQL files"):
        await migrate(empty_url, tmp_path)


async def test_the_shipped_files_are_what_the_template_has(database_url: str) -> None:
    assert MIGRATIONS.is_dir()
    assert await pending(database_url) == []
