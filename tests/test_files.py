"""Writing: whole or not at all, over regular files only, by names that nobody foresees."""

from __future__ import annotations

import os
import resource
import socket
import threading
from contextlib import contextmanager

import pytest

from stockformer.files import check_writable, write_whole


@pytest.fixture(params=["pipe", "socket", "folder"])
def irregular(request, tmp_path):
    path = tmp_path / "irregular"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    return path, request.param


@pytest.mark.parametrize("write", [lambda path: check_writable([path]), lambda path: write_whole({path: b"new"})])
@pytest.mark.parametrize("linked", [False, True])
def test_only_files_are_replaced(irregular, tmp_path, write, linked):
    path, kind = irregular
    before = path.stat()
    if linked:
        (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match=f"is a {kind}, expected a file to write"):
        write(tmp_path / "link" if linked else path)
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)
    assert {one.name for one in tmp_path.iterdir()} == {"irregular", *(["link"] if linked else [])}


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_written(tmp_path, there):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    if there:
        target.write_text("old")
    link.symlink_to("far/target")
    write_whole({link: b"new"})
    assert os.readlink(link) == "far/target"
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_a_link_to_itself(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="leads back to itself"):
        write_whole({tmp_path / "loop": b"new"})
    assert (tmp_path / "loop").is_symlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_permissions_are_kept(tmp_path, mode):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(mode)
    write_whole({path: b"new"})
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", mode)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_the_permissions_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_whole({tmp_path / "a": b"new"})
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, " ", "-rf", "a\nb"])
def test_any_name_that_a_file_may_have(tmp_path, name):
    write_whole({tmp_path / name: b"new"})
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {name: b"new"}


def test_a_name_that_no_file_may_have(tmp_path):
    with pytest.raises(OSError, match="too long"):
        check_writable([tmp_path / ("n" * 256)])


def test_a_planted_link_is_not_written_through(tmp_path, monkeypatch):
    """Even if the name of the neighbour is foreseen."""
    (tmp_path / "precious").write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda length: "foreseen")
    (tmp_path / ".foreseen.part").symlink_to("precious")
    with pytest.raises(FileExistsError):
        write_whole({tmp_path / "a": b"new"})
    assert (tmp_path / "precious").read_text() == "mine"


def test_threads_may_write_one_path(tmp_path):
    path, failed = tmp_path / "a", []
    contents = [bytes([number]) * 100_000 for number in range(8)]

    def write(content):
        try:
            for _ in range(10):
                write_whole({path: content})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    seen = {
        path.read_bytes() for _ in iter(lambda: any(thread.is_alive() for thread in threads), False) if path.exists()
    }
    for thread in threads:
        thread.join()
    assert failed == []
    assert seen | {path.read_bytes()} <= set(contents)
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def largest_file(length):
    """As on a full disk, what is written beyond `length` bytes fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_every_old_file(tmp_path):
    files = {tmp_path / name: b"old" for name in "abc"}
    write_whole(files)
    with largest_file(1000), pytest.raises(OSError, match="too large"):
        write_whole({tmp_path / "a": b"new", tmp_path / "b": bytes(5000), tmp_path / "c": b"new"})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_full_disk_is_noticed_before_the_work(tmp_path):
    with largest_file(1000), pytest.raises(OSError, match="too large"):
        check_writable([tmp_path / "a"])
    check_writable([tmp_path / "a"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    path = tmp_path / "none" / "deep" / "a"
    for write in (lambda: check_writable([path]), lambda: write_whole({path: b"new"})):
        with pytest.raises(FileNotFoundError, match=r"there is no folder .*deep to write into"):
            write()
    check_writable([path], make_folders=True)
    (tmp_path / "none").write_text("a file")
    with pytest.raises(NotADirectoryError):
        check_writable([path], make_folders=True)


@pytest.mark.parametrize("other", ["a", "link", "hard"])
def test_two_names_of_one_file(tmp_path, other):
    path = tmp_path / "a"
    path.write_text("old")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "hard").hardlink_to(path)
    with pytest.raises(ValueError, match="expected different files"):
        check_writable([tmp_path / other], inputs=[path])
    with pytest.raises(ValueError, match="expected different files"):
        check_writable([path, tmp_path / other])


def test_two_names_of_a_file_that_is_not_there(tmp_path):
    (tmp_path / "folder").symlink_to(".")
    with pytest.raises(ValueError, match="expected different files"):
        check_writable([tmp_path / "a", tmp_path / "folder" / "a"])


def test_a_file_that_is_read_only(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everything
    with pytest.raises(PermissionError, match="a is read-only"):
        write_whole({path: b"new"})
    assert path.read_text() == "old"
