/**
 * One real run of the pipeline with `-profile test`. What its tasks were given and what they left are
 * the inputs of the modules' tests. It is in .nf-test/run, and the next nf-test resumes it.
 *
 * nf-test loads this class anew for each file of tests: what the JVM remembers is in its properties.
 */
class TestRun {
    static final File folder = new File('.nf-test/run').absoluteFile
    static final File results = new File(folder, 'results/test')
    private static final String done = 'c2sflow.test_run'
    private static List<Map<String, String>> tasks

    /** The work folder of a task, by the names of its process and tag. */
    static String task(String process, String tag = '-') {
        def found = trace().find { row -> row.process.tokenize(':').last() == process && row.tag == tag }
        assert found : "the run of -profile test had no task ${process} (${tag})"
        found.workdir
    }

    /** How many tasks it had. */
    static int size() {
        trace().size()
    }

    /** Gives another launch folder the memory of this run, so that -resume there continues it. */
    static void lendTo(String launchDir) {
        trace()
        assert ['cp', '-r', "${folder}/.nextflow", launchDir].execute().waitFor() == 0
    }

    private static synchronized List<Map<String, String>> trace() {
        if (!System.getProperty(done)) {
            start()
            System.setProperty(done, 'yes')
        }
        tasks = tasks ?: read()
    }

    private static void start() {
        folder.mkdirs()
        def root = new File('').absolutePath
        def log = new File(folder, 'output.log')
        def command = ['nextflow', 'run', root, '-profile', 'test', '-resume', '-ansi-log', 'false']
        def process = new ProcessBuilder(command).directory(folder).redirectErrorStream(true).redirectOutput(log).start()
        assert process.waitFor() == 0 : log.text
    }

    private static List<Map<String, String>> read() {
        def lines = new File(results, 'pipeline_info/execution_trace.tsv').readLines()*.split('\t', -1)
        lines.tail().collect { line -> [lines.head().toList(), line.toList()].transpose().collectEntries() }
    }
}
