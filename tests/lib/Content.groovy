import groovy.json.JsonSlurper

/** What is in a file, for assertions and snapshots. */
class Content {
    /** The content of an .h5ad, .parquet, .tsv or .h5 file in figures, by content.py beside this. */
    static Object of(Object file) {
        ofAll([file])[0]
    }

    /** The contents of several files, in order. */
    static List<Object> ofAll(Collection files) {
        def output = new StringBuilder()
        def errors = new StringBuilder()
        def process = (['python3', 'tests/lib/content.py'] + files.collect { file -> "${file}".toString() }).execute()
        process.waitForProcessOutput(output, errors)
        assert process.exitValue() == 0 : errors
        new JsonSlurper().parseText(output.toString())
    }

    static Object json(Object file) {
        new JsonSlurper().parse(new File("${file}"))
    }

    /** The names of the files in the items of a channel, in order. */
    static List<String> names(Object items) {
        [items].flatten().findAll { item -> "${item}".startsWith('/') }.collect { item -> new File("${item}").name }.sort()
    }
}
