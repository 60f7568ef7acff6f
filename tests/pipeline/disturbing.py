"""A run of many shards that is disturbed by all that goes wrong on clusters, and what that costs.

`Disturbed` drives the real Nextflow over the demo's cells, one sample in many shards, each a task
of EMBED, and deals out faults while it runs: tasks and Nextflow killed, the machine lost, disks
full, a slow file system.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Event, Thread

import anndata as ad
import numpy as np
from driving import LENIENT, ROOT, Nextflow, warm_steps

from c2sflow.data.demo import demo_samples

HERE = Path(__file__).resolve().parent
CELLS = 3  # of a shard
TICK = os.sysconf("SC_CLK_TCK")
MEBIBYTE = 2**20
DISK = 600 * MEBIBYTE  # the work folder
OUT = 60 * MEBIBYTE
SLOW = 40  # milliseconds that an operation on a file waits, at most
BETWEEN = 8  # shards from one killed task to the next, on average
LARGE = 100 * MEBIBYTE  # only the step itself is
GRACE = 2  # seconds between the signal that announces the end and the end
OF_A_TASK = ("task killed", "largest process killed", "task pre-empted")
CONFIG = """
process {
    withLabel: 'process_.*' { cpus = 1; memory = 2.GB }
}
executor { cpus = %d; memory = '16 GB' }
"""
ARGUMENTS = (
    "--input", "sheet.csv", "--model", "demo", "--min_genes", 10, "--shard_size", CELLS,
    "--evaluate", "false",
)  # fmt: skip


def write_input(folder: Path, shards: int) -> None:
    """The demo's 700 cells, as often as it takes, under names of their own."""
    cells = ad.concat(demo_samples(), index_unique="_")
    cells = cells[np.arange(shards * CELLS) % cells.n_obs].copy()
    cells.obs_names = [f"{name}.{number}" for number, name in enumerate(cells.obs_names)]
    cells.write_h5ad(folder / "cells.h5ad")
    (folder / "sheet.csv").write_text("sample,path\ns,cells.h5ad\n")


@contextmanager
def small_disk(folder: Path, size: int):
    """A file system of `size` bytes at `folder`; whoever may not mount has the folder alone."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(folder: Path):
    """No byte is left on a disk."""
    balloon = folder / "balloon"
    with balloon.open("wb", buffering=0) as file, suppress(OSError):
        for size in (MEBIBYTE, 4096):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    try:
        yield
    finally:
        balloon.unlink()


@cache
def slow_library(folder: Path) -> Path:
    """What makes a program's file system slow, compiled."""
    library = folder / "slow.so"
    source = HERE / "injected/slow.c"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@dataclass
class Process:
    """One process of a task, as /proc shows it."""

    pid: int
    parent: int
    own: float  # CPU seconds
    waited: float  # of children that have ended
    memory: int  # bytes


def processes_in(work: Path) -> dict[Path, list[Process]]:
    """The processes that run in each task's folder."""
    found = defaultdict(list)
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            here = str(Path(entry.path, "cwd").readlink())
            if not here.startswith(f"{work}/"):
                continue
            parts = Path(here).relative_to(work).parts
            if len(parts) < 2:
                continue
            stat = Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
            user, system, users, systems = (int(part) / TICK for part in stat[11:15])
            memory = int(stat[21]) * os.sysconf("SC_PAGE_SIZE")
            process = Process(int(entry.name), int(stat[1]), user + system, users + systems, memory)
            found[work.joinpath(*parts[:2])].append(process)
    return found


@dataclass
class Task:
    """What was seen of a task."""

    name: str
    first: float
    last: float
    cpu: float = 0.0
    forks: dict[int, float] = field(default_factory=dict)


class Watch(Thread):
    """Looks at all tasks of a work folder five times a second, until it is stopped."""

    def __init__(self, work: Path, server: int | None):
        super().__init__(daemon=True)
        self.work = work
        self.server = server
        self.tasks: dict[Path, Task] = {}
        self.ended = Event()

    def run(self) -> None:
        while not self.ended.wait(0.2):
            self.look()

    def look(self) -> dict[Path, list[Process]]:
        """What runs now."""
        now, running = time.time(), processes_in(self.work)
        for folder, processes in running.items():
            if folder not in self.tasks:
                name = name_of(folder)
                if name is None:
                    continue
                self.tasks[folder] = Task(name, now, now)
            task = self.tasks[folder]
            task.last = now
            # A fork of the server is nobody's child here: its CPU time is no other process's.
            task.forks |= {
                process.pid: process.own for process in processes if process.parent == self.server
            }
            of_bash = sum(
                process.own + process.waited
                for process in processes
                if process.pid not in task.forks
            )
            task.cpu = max(task.cpu, of_bash + sum(task.forks.values()))
        return running


def name_of(folder: Path) -> str | None:
    """EMBED (s.00001)"""
    with suppress(OSError):
        text = (folder / ".command.run").read_text()
        if found := re.search(r"^### name: '(.+)'$|^# NEXTFLOW TASK: (.+)$", text, re.MULTILINE):
            return found[1] or found[2]
    return None


@dataclass
class Fault:
    """One fault, and when work went on after it."""

    kind: str
    time: float
    folders: list[Path]  # of the tasks that it hit
    names: list[str] = field(default_factory=list)
    run: int = 0  # of Nextflow's, which it hit


class Disturbed:
    """A run in `folder`, with work folder and outdir on small disks, and the faults that it meets.

    Parameters
    ----------
    warm
        EMBED takes its imports from a process that has them (warm/server.py).
    """

    def __init__(
        self, folder: Path, home: Path, shards: int, *, warm: bool, at_once: int, seed: int = 0
    ):
        self.shards, self.warm = shards, warm
        self.folder, self.disk, self.out = folder, folder / "disk", folder / "out"
        self.work = self.disk / "work"
        self.random = random.Random(seed)
        self.faults: list[Fault] = []
        self.outputs: list[str] = []
        self.statuses: list[int] = []
        self.unexpected: list[str] = []
        self.nextflow = Nextflow(folder, home, LENIENT)
        self.config = folder / "disturbed.config"
        self.config.write_text(CONFIG % at_once)
        self.java: subprocess.Popen | None = None
        self.hits: dict[str, int] = defaultdict(int)
        self.seconds = 0.0
        self.next_kill = self.random.expovariate(1 / BETWEEN)
        self.slow_time = (0.0, 0.0)

    @contextmanager
    def prepared(self):
        """Disks, input, server, watch."""
        with small_disk(self.disk, DISK) as fills, small_disk(self.out, OUT):
            self.fills = fills
            write_input(self.folder, self.shards)
            env = self.nextflow.env
            env |= {"LD_PRELOAD": str(slow_library(self.folder)), "SLOW": str(self.folder / "slow")}
            env |= {"SLOW_FOLDER": str(self.disk)}
            with ExitStack() as stack:
                server = self._warm(stack) if self.warm else None
                self.watch = Watch(self.work, server and server.pid)
                self.watch.start()
                try:
                    yield self
                finally:
                    self.watch.ended.set()
                    self.watch.join()
                    if self.java:
                        self.java.kill()
                        self.java.wait()

    def _warm(self, stack: ExitStack) -> subprocess.Popen:
        steps = warm_steps(self.folder / "door", "embed", env=self.nextflow.env)
        server, warm = stack.enter_context(steps)
        self.nextflow.take_imports(warm)
        return server

    def done(self) -> int:
        """Shards that are embedded."""
        return len({path.name for path in self.work.glob("??/*/*.embedding.h5ad")})

    def start(self) -> None:
        """Nextflow, from the beginning or where it was."""
        self.log = self.folder / f"run_{len(self.outputs)}.log"
        arguments = (
            *ARGUMENTS,
            "--outdir",
            self.out,
            "-w",
            self.work,
            "-c",
            self.config,
            "-resume",
        )
        command = (self.nextflow.launcher, "run", ROOT, "-ansi-log", "false", *arguments)
        with self.log.open("w") as log:
            self.java = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.folder, env=self.nextflow.env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.since = time.time()

    def end(self, timeout: float = 1800) -> int:
        """Wait until Nextflow has ended: its status."""
        status = self.java.wait(timeout)
        self.java = None
        self.seconds += time.time() - self.since
        self.outputs.append(self.log.read_text())
        self.statuses.append(status)
        return status

    def wait_for(self, share: float, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Until so many of the shards are done."""
        while self.done() < share * self.shards:
            if self.java.poll() is not None:  # of a fault that it ought to have borne
                self.end()
                self.unexpected.append(self.outputs[-1])
                assert len(self.unexpected) < 5, self.outputs[-1]
                self.start()
            time.sleep(0.5)
            meanwhile()

    def running(self, process: str = "") -> dict[Path, list[Process]]:
        running = self.watch.look()
        tasks = self.watch.tasks
        return {
            folder: processes
            for folder, processes in running.items()
            if folder in tasks and process in tasks[folder].name
        }

    def fault(self, kind: str, folders) -> Fault:
        folders = list(folders)
        names = [self.watch.tasks[folder].name for folder in folders]
        self.faults.append(Fault(kind, time.time(), folders, names, len(self.outputs)))
        return self.faults[-1]

    # What goes wrong

    def kill_a_task(self) -> None:
        """After some shards each, one chosen by lot; none more often than it is retried."""
        if self.done() < self.next_kill:
            return
        running = self.running("EMBED")
        tasks = self.watch.tasks
        able = [folder for folder in sorted(running) if self.hits[tasks[folder].name] < 2]
        if not able:
            return
        folder = self.random.choice(able)
        pids = [process.pid for process in running[folder]]
        kind = self.random.choice(OF_A_TASK)
        largest = max(running[folder], key=lambda process: process.memory)
        if kind == "largest process killed":  # as the kernel does where memory ends
            if largest.memory < LARGE:  # the step itself has not begun, or has ended
                return
            pids = [largest.pid]
        self.hits[tasks[folder].name] += 1
        self.next_kill = self.done() + self.random.expovariate(1 / BETWEEN)
        self.fault(kind, [folder])
        if kind == "task pre-empted":
            kill(pids, signal.SIGTERM)
            time.sleep(self.random.uniform(0, GRACE))
        kill(pids, signal.SIGKILL)

    def kill_nextflow(self) -> None:
        """Its tasks go on, and nobody takes what they make."""
        running = self.running()
        self.fault("Nextflow killed", running)
        self.java.kill()
        self.end()
        self.start()

    def lose_the_machine(self) -> None:
        """Nextflow and all tasks at once."""
        running = self.running()
        self.fault("machine lost", running)
        self.java.kill()
        kill(
            [process.pid for tasks in self.running().values() for process in tasks], signal.SIGKILL
        )
        self.end()
        self.start()

    def end_nextflow(self) -> None:
        """As a scheduler ends the job in which Nextflow runs: a signal, and the end after it."""
        self.fault("Nextflow pre-empted", self.running())
        self.java.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.java.wait(30)
        self.java.kill()
        self.end()
        self.start()

    def fill(self, folder: Path, kind: str) -> None:
        """A disk is full until Nextflow gives up."""
        fault = self.fault(kind, self.running())
        with full(folder):
            try:
                assert self.end(120) != 0, self.outputs[-1]
            except subprocess.TimeoutExpired:
                fault.kind += ", Nextflow hung"
                self.java.kill()
                self.end()
        fault.folders += [
            folder for folder, task in self.watch.tasks.items() if task.first > fault.time
        ]
        self.start()

    @contextmanager
    def slow(self):
        """Each operation on a file takes up to `SLOW` milliseconds more."""
        (self.folder / "slow").write_text(str(SLOW))
        begun = time.time()
        try:
            yield
        finally:
            (self.folder / "slow").unlink()
            self.slow_time = (begun, time.time())

    def everything(self) -> None:
        """Every kind of fault, one after the other, until the run has ended well."""
        self.start()
        self.wait_for(0.15, self.kill_a_task)
        self.kill_nextflow()
        self.wait_for(0.30, self.kill_a_task)
        self.lose_the_machine()
        self.wait_for(0.45, self.kill_a_task)
        if self.fills:  # that of the work folder
            self.fill(self.disk, "disk full")
        self.wait_for(0.60, self.kill_a_task)
        self.end_nextflow()
        self.wait_for(0.70, self.kill_a_task)
        with self.slow():
            self.wait_for(0.78, self.kill_a_task)
            self.lose_the_machine()
            self.wait_for(0.85, self.kill_a_task)
        self.wait_for(0.95, self.kill_a_task)
        if self.fills:
            self.fill(self.out, "disk of the results full")
        assert self.end() == 0, self.outputs[-1]

    # What it cost

    def costs(self) -> list[dict]:
        """Of each fault: the CPU seconds and time of the tasks' work that was thrown away, and
        the time until the next task began (of a single task, until it began again)."""
        kept = self.kept()
        tasks = self.watch.tasks
        found = []
        for fault in self.faults:
            lost = [folder for folder in fault.folders if folder not in kept]
            again = [
                task.first
                for task in tasks.values()
                if task.first > fault.time
                and (fault.kind not in OF_A_TASK or task.name in fault.names)
            ]
            found.append(
                {
                    "kind": fault.kind,
                    "tasks": len(lost),
                    "cpu": sum(tasks[folder].cpu for folder in lost),
                    "age": sum(tasks[folder].last - tasks[folder].first for folder in lost),
                    "until_next": min(again) - fault.time if again else None,
                }
            )
        return found

    def table(self) -> list[str]:
        """Markdown: the costs of each kind of fault."""
        rows = [
            "| fault | times | tasks lost | their CPU, a fault: mean, most | their time, a task "
            "| until work went on |",
            "|---|---|---|---|---|---|",
        ]
        costs = self.costs()
        for kind in dict.fromkeys(cost["kind"] for cost in costs):
            of_kind = [cost for cost in costs if cost["kind"] == kind]
            cpu = [cost["cpu"] for cost in of_kind]
            lost = sum(cost["tasks"] for cost in of_kind)
            age = f"{sum(cost['age'] for cost in of_kind) / lost:.1f} s" if lost else "–"
            if kind in OF_A_TASK:
                wait = "other tasks ran"
            else:
                wait = ", ".join(f"{cost['until_next']:.0f} s" for cost in of_kind)
            rows.append(
                f"| {kind} | {len(of_kind)} | {lost} | {np.mean(cpu):.1f} s, {max(cpu):.1f} s "
                f"| {age} | {wait} |"
            )
        return rows

    def figures(self) -> dict:
        """All that was measured."""
        usual, slow = self.paces()
        return {
            "seconds": self.seconds,
            "tasks": len(self.watch.tasks),
            "cpu": sum(task.cpu for task in self.watch.tasks.values()),
            "task_seconds": usual,
            "task_seconds_slow": slow,
            "faults": self.costs(),
        }

    def of_full_disks(self) -> list[str]:
        """What Nextflow printed when each disk was full."""
        return [self.outputs[fault.run] for fault in self.faults if "full" in fault.kind]

    def paces(self) -> tuple[float, float]:
        """Median seconds of an undisturbed task of EMBED: usually, and on the slow file system."""
        kept = self.kept()
        begun, ended = self.slow_time
        times = {True: [], False: []}
        for folder, task in self.watch.tasks.items():
            if folder in kept and "EMBED" in task.name:
                times[begun < task.first < ended].append(task.last - task.first)
        return float(np.median(times[False])), float(np.median(times[True] or np.nan))

    def kept(self) -> set[Path]:
        """Folders of the tasks whose files are in the result."""
        trace = (self.out / "pipeline_info/execution_trace.tsv").read_text().splitlines()
        head, *rows = (row.split("\t") for row in trace)
        rows = [dict(zip(head, row, strict=True)) for row in rows]
        return {Path(row["workdir"]) for row in rows if row["status"] in ("COMPLETED", "CACHED")}

    def by_hand(self) -> Path:
        """c2s.h5ad as it is made without any fault: all shards by one EMBED, and MERGE with them.

        What the steps before them made is taken as it is.
        """
        kept = {self.watch.tasks[folder].name: folder for folder in self.kept()}
        merge = next(folder for name, folder in kept.items() if name.endswith("MERGE"))
        own = self.folder / "by_hand"
        shutil.copytree(merge, own, symlinks=True)
        for path in (own / "embeddings", own / "c2s.h5ad"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (own / "embeddings").mkdir()
        embed = next(folder for name, folder in kept.items() if name.startswith("EMBED"))
        sentences = next(folder for name, folder in kept.items() if "SENTENCES" in name)
        shards = sorted((sentences / "shards").iterdir())
        assert len(shards) == self.shards
        (command,) = re.findall("^c2s embed .+", (embed / ".command.sh").read_text(), re.MULTILINE)
        every = " ".join(f"--shard={shard}" for shard in shards)
        command = re.sub("--shard=[^ ]+", every, command).replace("=model ", f"={embed}/model ")
        commands = [
            "export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 PYTHONHASHSEED=0",
            f"{command} --outdir=embeddings",
            (merge / ".command.sh").read_text().split("# capture process environment")[0],
        ]
        env = {**os.environ, "PATH": f"{ROOT / 'bin'}{os.pathsep}{self.nextflow.env['PATH']}"}
        subprocess.run(["bash", "-euc", "\n".join(commands)], cwd=own, env=env, check=True)
        return own / "c2s.h5ad"


def kill(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
