"""A supervisor and real children: order, readiness, restarts, ends, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processes import GENEROUS_S, descendants, is_running, parents, until
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import SystemClock
from trinity_mesh.readiness import Answers, FileWritten
from trinity_mesh.supervise import Event, Restart, Spec, State, Supervisor

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="orphans are found through Linux's /proc")


async def _never() -> bool:
    return False


NEVER = Answers(_never)
FOREVER = "import time; time.sleep(600)"
QUICK = Restart(first_ms=10, cap_ms=50)


def python(name: str, code: str, **rest: object) -> Spec:
    fields: dict[str, object] = {"ready": None, "restart": QUICK, **rest}
    return Spec(name=name, argv=(sys.executable, "-I", "-S", "-u", "-c", code), **fields)  # type: ignore[arg-type]


class Told:
    """Collects what a supervisor tells."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def index(self, name: str, state: State) -> int:
        return next(i for i, event in enumerate(self.events) if (event.name, event.state) == (name, state))

    def last(self, name: str, state: State) -> int:
        return max(i for i, event in enumerate(self.events) if (event.name, event.state) == (name, state))


def supervise(tmp_path: Path, *specs: Spec, told: Told | None = None) -> Supervisor:
    return Supervisor(specs, clock=SystemClock(), data_dir=tmp_path / "data", on_event=told or Told())


async def test_a_child_starts_after_those_it_needs_and_stops_before_them(tmp_path: Path) -> None:
    told = Told()
    specs = [
        python("gateway", FOREVER, depends_on=("price",)),
        python("price", FOREVER, depends_on=("feeds",)),
        python("feeds", FOREVER),
    ]
    async with supervise(tmp_path, *specs, told=told) as supervisor:
        assert [status.state for status in supervisor.statuses()] == [State.SERVING] * 3
        pids = [status.pid for status in supervisor.statuses()]
        assert all(pid is not None and is_running(pid) for pid in pids)
    for first, second in (("feeds", "price"), ("price", "gateway")):
        assert told.index(first, State.SERVING) < told.index(second, State.STARTING)
        assert told.last(second, State.STOPPED) < told.last(first, State.STOPPING)
    assert not any(is_running(pid) for pid in pids if pid)


async def test_children_that_do_not_need_each_other_start_together(tmp_path: Path) -> None:
    meet = """
import pathlib, sys, time
mine, other, ready = map(pathlib.Path, {paths})
mine.touch()
while not other.exists(): time.sleep(0.01)
ready.write_text("yes")
time.sleep(600)
"""
    a, b = tmp_path / "a", tmp_path / "b"
    ready = {name: tmp_path / f"{name}.ready" for name in "ab"}
    one = python("a", meet.format(paths=[str(a), str(b), str(ready["a"])]), ready=FileWritten(ready["a"]))
    two = python("b", meet.format(paths=[str(b), str(a), str(ready["b"])]), ready=FileWritten(ready["b"]))
    async with supervise(tmp_path, one, two) as supervisor:
        assert {status.state for status in supervisor.statuses()} == {State.SERVING}


@pytest.mark.parametrize("tree", [False, True])
async def test_a_killed_child_serves_again_as_another_process(tmp_path: Path, tree: bool) -> None:
    ready = tmp_path / "ready"
    code = f"import pathlib, time; pathlib.Path({str(ready)!r}).write_text('yes'); time.sleep(600)"
    told = Told()
    async with supervise(tmp_path, python("a", code, ready=FileWritten(ready), tree=tree), told=told) as supervisor:
        first = supervisor.status("a").pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.status("a").state is State.BACKOFF or supervisor.status("a").restarts > 0, "end")
        await until(lambda: supervisor.status("a").state is State.SERVING, "served again")
        again = supervisor.status("a")
        assert again.pid not in (first, None)
        assert (again.restarts, again.exit_code) == (1, -signal.SIGKILL)
    assert "killed by SIGKILL" in told.events[told.index("a", State.BACKOFF)].text


@pytest.mark.parametrize("tree", [False, True])
async def test_a_child_that_ignores_the_stop_signal_is_killed(tmp_path: Path, tree: bool) -> None:
    ready = tmp_path / "ready"
    code = f"""
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(ready)!r}).write_text("yes")
time.sleep(600)
"""
    spec = python("deaf", code, ready=FileWritten(ready), stop_timeout_ms=50, tree=tree)
    supervisor = supervise(tmp_path, spec)
    await supervisor.start()
    pid = supervisor.status("deaf").pid
    assert pid is not None
    await supervisor.stop()
    assert not is_running(pid)
    assert supervisor.status("deaf").exit_code == -signal.SIGKILL


@pytest.mark.parametrize("tree", [False, True])
async def test_a_child_gets_its_own_stop_signal_and_its_exit_code_is_kept(tmp_path: Path, tree: bool) -> None:
    ready = tmp_path / "ready"
    code = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
pathlib.Path({str(ready)!r}).write_text("yes")
time.sleep(600)
"""
    spec = python("polite", code, ready=FileWritten(ready), stop_signal=signal.SIGINT, tree=tree)
    supervisor = supervise(tmp_path, spec)
    await supervisor.start()
    await supervisor.stop()
    assert supervisor.status("polite").exit_code == 7


async def test_a_child_that_never_serves_fails_the_start_with_its_last_words(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = f"import sys; open({str(marker)!r}, 'a').write('x'); print('port 1 is taken', file=sys.stderr); sys.exit(3)"
    told = Told()
    supervisor = supervise(tmp_path, python("good", FOREVER), python("bad", code, ready=NEVER), told=told)
    with pytest.raises(TrinityError) as caught:
        await supervisor.start()
    assert caught.value.reason is Reason.BACKEND_UNAVAILABLE
    assert "bad did not start: exited with 3 (3 attempts)" in caught.value.message
    assert "port 1 is taken" in caught.value.message
    assert marker.read_text() == "xxx"
    assert supervisor.status("good").state is State.STOPPED
    assert supervisor.status("bad").state is State.FAILED
    assert "port 1 is taken" in (tmp_path / "data" / "logs" / "bad.log").read_text()


async def test_a_wrong_setting_is_not_tried_twice(tmp_path: Path) -> None:
    supervisor = supervise(tmp_path, python("bad", "import sys; sys.exit(78)", ready=NEVER))
    with pytest.raises(TrinityError, match=r"exited with 78 \(1 attempts\)"):
        await supervisor.start()


async def test_what_needs_a_child_that_fails_never_starts(tmp_path: Path) -> None:
    told = Told()
    specs = [python("bad", "import sys; sys.exit(78)", ready=NEVER), python("needy", FOREVER, depends_on=("bad",))]
    with pytest.raises(TrinityError, match="bad did not start"):
        await supervise(tmp_path, *specs, told=told).start()
    assert State.STARTING not in [event.state for event in told.events if event.name == "needy"]


async def test_a_child_that_hangs_while_starting_is_ended(tmp_path: Path) -> None:
    spec = python("hangs", FOREVER, ready=NEVER, ready_timeout_ms=60)
    told = Told()
    with pytest.raises(TrinityError, match=r"did not serve within 60 ms \(1 attempts\)"):
        await supervise(tmp_path, spec, told=told).start()
    pids = {event.pid for event in told.events if event.pid}
    assert not any(is_running(pid) for pid in pids)


@pytest.mark.parametrize("tree", [False, True])
async def test_a_command_that_does_not_exist_is_named(tmp_path: Path, tree: bool) -> None:
    once = Restart(attempts_to_serve=1)
    spec = Spec(name="gone", argv=("/does/not/exist",), ready=NEVER, restart=once, tree=tree)
    with pytest.raises(TrinityError, match=r"exited with 127(?s:.*)cannot run /does/not/exist: No such file"):
        await supervise(tmp_path, spec).start()


async def test_what_is_done_before_a_start_is_done_before_each_and_its_failure_is_a_failed_start(
    tmp_path: Path,
) -> None:
    done: list[str] = []

    async def prepare() -> None:
        done.append("x")
        if len(done) == 1:
            raise TrinityError(Reason.STORE_UNAVAILABLE, "the directory is not ours yet")

    told = Told()
    async with supervise(tmp_path, python("a", FOREVER, before_start=prepare), told=told) as supervisor:
        assert supervisor.status("a").state is State.SERVING
    assert done == ["x", "x"]
    assert "not ours yet" in told.events[told.index("a", State.BACKOFF)].text


async def test_a_listener_that_fails_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def full_disk(event: Event) -> None:
        raise OSError(28, "no space left on device")

    spec = python("a", FOREVER)
    async with Supervisor([spec], clock=SystemClock(), data_dir=tmp_path, on_event=full_disk) as supervisor:
        first = supervisor.status("a").pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.status("a").pid not in (None, first), "restarted all the same")
    assert "no space left" in caplog.text


async def test_stopping_while_a_child_waits_for_its_restart_is_quick_and_final(tmp_path: Path) -> None:
    patient = Restart(first_ms=600_000, cap_ms=600_000)
    supervisor = supervise(tmp_path, python("a", FOREVER, restart=patient))
    await supervisor.start()
    pid = supervisor.status("a").pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    await until(lambda: supervisor.status("a").state is State.BACKOFF, "waits for its restart")
    await supervisor.stop()
    assert supervisor.status("a").state is State.STOPPED
    await supervisor.stop()


async def test_a_data_directory_has_one_supervisor(tmp_path: Path) -> None:
    async with supervise(tmp_path, python("a", FOREVER)):
        with pytest.raises(TrinityError) as caught:
            await supervise(tmp_path, python("a", FOREVER)).start()
        assert caught.value.reason is Reason.DATA_DIR_IN_USE
        assert str(os.getpid()) in caught.value.message
    async with supervise(tmp_path, python("a", FOREVER)):
        pass


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        ([python("a", ""), python("a", "")], "given twice"),
        ([python("a", "", depends_on=("b",))], "unknown dependency: b"),
        ([python("a", "", depends_on=("b",)), python("b", "", depends_on=("a",))], "circle: a, b"),
    ],
)
def test_an_impossible_order_is_refused(tmp_path: Path, specs: list[Spec], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        supervise(tmp_path, *specs)


async def test_a_talkative_child_is_never_held_up_and_its_log_stays_bounded(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = f"""
import pathlib, sys, time
for number in range(40_000): print("line", number, "x" * 80)
pathlib.Path({str(ready)!r}).write_text("yes")
time.sleep(600)
"""
    spec = python("talks", code, ready=FileWritten(ready), log_bytes_max=300_000)
    async with supervise(tmp_path, spec) as supervisor:
        await until(lambda: "line 39999" in "".join(supervisor.status("talks").last_lines), "its last line is kept")
        logs = sorted((tmp_path / "data" / "logs").iterdir())
    assert [path.name for path in logs] == ["talks.log", "talks.log.1"]
    assert all(path.stat().st_size <= 300_000 for path in logs)
    assert logs[0].stat().st_mode & 0o777 == 0o600


# A command that leaves a busy process in a session of its own, as PostgreSQL's backends are.
LEAVES_ORPHANS = """
import os, pathlib, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
    pathlib.Path(sys.argv[1], str(os.getpid())).touch()
    while True: time.sleep(600)
time.sleep(600)
"""


@LINUX_ONLY
async def test_a_killed_tree_leaves_no_orphan_and_serves_again(tmp_path: Path) -> None:
    seen = tmp_path / "pids"
    seen.mkdir()
    argv = (sys.executable, "-I", "-S", "-c", LEAVES_ORPHANS, str(seen))
    async with supervise(tmp_path, Spec(name="tree", argv=argv, ready=None, tree=True, restart=QUICK)) as supervisor:
        await until(lambda: len(list(seen.iterdir())) == 2, "both grandchildren run")
        orphans = [int(path.name) for path in seen.iterdir()]
        pid = supervisor.status("tree").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(is_running(orphan) for orphan in orphans), "the orphans end")
        await until(lambda: len(list(seen.iterdir())) == 4, "it serves again")
        everyone = [int(path.name) for path in seen.iterdir()]
    assert not any(is_running(pid) for pid in everyone)


SUPERVISES = """
import asyncio, json, os, sys
from pathlib import Path
from trinity_mesh.clock import SystemClock
from trinity_mesh.supervise import Spec, Supervisor

async def main():
    data, code, seen = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    plain = Spec(name="plain", argv=(sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"), ready=None)
    tree = Spec(name="tree", argv=(sys.executable, "-I", "-S", "-c", code, seen), ready=None, tree=True)
    async with Supervisor([plain, tree], clock=SystemClock(), data_dir=data) as supervisor:
        print(json.dumps([status.pid for status in supervisor.statuses()]), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def start_supervising_process(data_dir: Path, seen: Path) -> tuple[subprocess.Popen[str], list[int]]:
    command = [sys.executable, "-c", SUPERVISES, str(data_dir), LEAVES_ORPHANS, str(seen)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


@LINUX_ONLY
async def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    seen = tmp_path / "pids"
    seen.mkdir()
    supervisor, children = start_supervising_process(tmp_path / "data", seen)
    await until(lambda: len(list(seen.iterdir())) == 2, "both grandchildren run")
    everyone = descendants(supervisor.pid)
    assert everyone >= {*children, *(int(path.name) for path in seen.iterdir())}
    assert len(everyone) == 5, "two commands, a guardian, two grandchildren"
    supervisor.kill()
    supervisor.communicate(timeout=GENEROUS_S)
    await until(lambda: not any(is_running(pid) for pid in everyone), "everything of it ends")


@LINUX_ONLY
async def test_a_killed_guardian_takes_its_command_along_and_both_come_back(tmp_path: Path) -> None:
    async with supervise(tmp_path, python("tree", FOREVER, tree=True)) as supervisor:
        pid = supervisor.status("tree").pid
        assert pid is not None
        os.kill(parents()[pid], signal.SIGKILL)
        await until(lambda: not is_running(pid), "the command ends")
        await until(lambda: supervisor.status("tree").pid not in (None, pid), "another one runs")


def test_all_of_it_works_on_uvloop_as_well(tmp_path: Path) -> None:
    import uvloop

    ready = tmp_path / "ready"
    code = f"import pathlib, time; print('hi'); pathlib.Path({str(ready)!r}).write_text('yes'); time.sleep(600)"

    async def scenario() -> None:
        specs = [python("a", code, ready=FileWritten(ready)), python("b", FOREVER, tree=True)]
        async with supervise(tmp_path, *specs) as supervisor:
            for name in "ab":
                pid = supervisor.status(name).pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await until(lambda name=name: supervisor.status(name).restarts == 1, "restart")
                await until(lambda name=name: supervisor.status(name).state is State.SERVING, "served again")
            assert supervisor.status("a").last_lines[0] == "hi"
            pids = [status.pid for status in supervisor.statuses()]
        assert not any(is_running(pid) for pid in pids if pid)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
