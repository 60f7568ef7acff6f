import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/** What is in a file, for assertions and snapshots. */
class Content {
    private static final File errors = new File('.nf-test/content.log').absoluteFile

    /** The content of an .h5ad, .parquet, .tsv or .h5 file in figures, by content.py beside this. */
    static Object of(Object file) {
        ofAll([file])[0]
    }

    /** The contents of several files, in order. */
    static List<Object> ofAll(Collection files) {
        def python = reader()
        python.outputWriter().with { asked ->
            asked.write(JsonOutput.toJson(files.collect { file -> "${file}".toString() }) + '\n')
            asked.flush()
        }
        def answer = python.inputReader().readLine()
        assert answer : errors.text
        new JsonSlurper().parseText(answer)
    }

    /** One process for all tests, in the properties of the JVM: each file of tests loads this class anew. */
    private static synchronized Process reader() {
        def known = System.properties.get('c2sflow.content')
        if (known?.alive) {
            return known
        }
        def started = new ProcessBuilder('python3', 'tests/lib/content.py').redirectError(errors).start()
        System.properties.put('c2sflow.content', started)
        started
    }

    static Object json(Object file) {
        new JsonSlurper().parse(new File("${file}"))
    }

    /** The names of the files in the items of a channel, in order. */
    static List<String> names(Object items) {
        [items].flatten().findAll { item -> "${item}".startsWith('/') }.collect { item -> new File("${item}").name }.sort()
    }
}
