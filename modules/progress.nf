// Progress of the steps in the log: each task keeps progress.json in its folder, which is read from
// here every half minute (c2sflow/common/progress.py writes it).

// Log progress until the run ends. `counts`, filled as the run goes: [step: [tasks: number of its
// tasks in all, finished: number of those done]]. Nothing where the work folder is an object store:
// there a task's files come when it has ended.
def logProgress(Path work, Map counts, long seconds = 30) {
    if (work.fileSystem != java.nio.file.FileSystems.default) {
        return null
    }
    def earlier = taskFolders(work).toSet() // of earlier runs
    def seen = [:]
    def watch = {
        try {
            progressLines(work, earlier, seen, counts).each { line -> log.info(line) }
        }
        catch (Exception error) {
            log.debug("Progress is not known: ${error}")
        }
    }
    log.info("Progress is logged every ${seconds} s. Log of the latest task: tail -f \"\$(ls -td '${work}'/??/*/ | head -1).command.log\"")
    def timer = new java.util.Timer(true)
    timer.schedule(watch as java.util.TimerTask, seconds * 1000, seconds * 1000)
    return timer
}

// Count a step's tasks, and those of them that are done, cached or not.
def countTasks(Map counts, String step, tasks, results) {
    counts[step] = [tasks: 0, finished: 0]
    tasks.count().subscribe { number -> counts[step].tasks = number }
    results.subscribe { _result -> counts[step].finished = counts[step].finished + 1 }
}

// work/ab/cdef…: folder of a task
def taskFolders(Path work) {
    foldersIn(work)
        .findAll { folder -> folder.name ==~ /[0-9a-f]{2}/ }
        .collectMany { folder -> foldersIn(folder) }
        .collect { folder -> folder.toString() }
}

def foldersIn(Path folder) {
    folder.exists() ? folder.listFiles().findAll { entry -> java.nio.file.Files.isDirectory(entry) } : []
}

// A line for each step that has tasks under way: how far they are, if that has changed since the last
// look; of a step that counts nothing, how long it has been running.
// `seen`: [folder: what its progress.json held at the last look].
def progressLines(Path work, Set earlier, Map seen, Map counts) {
    def now = (taskFolders(work) - earlier).collectEntries { folder -> [folder, readProgress(file("${folder}/progress.json", glob: false))] }
    def found = now.findAll { _folder, task -> task }
    def lines = found
        .groupBy { _folder, task -> task.step }
        .collectMany { step, tasks ->
            def counted = tasks.findAll { _folder, task -> task.total > 0 }
            def moved = counted.any { folder, task -> task.done < task.total && task != seen[folder] }
            def running = tasks.findAll { folder, task -> task.total == 0 && !file("${folder}/.exitcode", glob: false).exists() }
            moved ? [progressLine(step, counted.values().toList(), counts[step])]
                : running && !counted ? [runningLine(step, running.values()*.started.min())] : []
        }
    seen.putAll(found)
    return lines
}

// EVALUATE: running for 90 s
def runningLine(String step, started) {
    def seconds = Math.max(0, Math.round(System.currentTimeMillis() / 1000 - started))
    "${processName(step)}: running for ${seconds < 120 ? "${seconds} s" : duration(seconds)}"
}

def processName(String step) {
    step.toUpperCase().replace('-', '_')
}

def readProgress(Path json) {
    json.exists() ? new groovy.json.JsonSlurperClassic().parseText(json.text) : null
}

// EMBED: 12,000 of about 40,000 cells (30 %), 85.2 a second, about 5 min left
def progressLine(String step, List tasks, Map count) {
    def under_way = tasks.findAll { task -> task.done < task.total }
    def done = tasks.sum { task -> task.done }
    def known = tasks.sum { task -> task.total }
    def waiting = count ? Math.max(0, count.tasks - count.finished - under_way.size()) : 0
    def total = known + waiting * Math.round(known / tasks.size())
    def timed = tasks.findAll { task -> task.seconds >= 1 }
    def rate = timed ? under_way.size() * timed.sum { task -> task.done } / timed.sum { task -> task.seconds } : 0
    def left = rate > 0 ? ", about ${duration((total - done) / rate)} left" : ''
    def speed = rate > 0 ? ", ${String.format(Locale.ROOT, rate < 10 ? '%.2f' : '%.0f', rate as double)} a second" : ''
    "${processName(step)}: ${grouped(done)} of ${waiting ? 'about ' : ''}${grouped(total)} ${tasks[0].unit}s " +
        "(${Math.round(100 * done / total)} %)${speed}${left}"
}

// 12000 → 12,000
def grouped(number) {
    String.format(Locale.ROOT, '%,d', number as long)
}

def duration(seconds) {
    def minutes = Math.ceil((seconds as double) / 60) as long
    minutes < 60 ? "${minutes} min" : minutes < 2880 ? "${minutes.intdiv(60)} h ${minutes % 60} min" : "${minutes.intdiv(1440)} days"
}
