"""moto's server of AWS's interfaces, as these tests need it: python aws_server.py -p PORT.

Batch jobs really run, as containers of the service at DOCKER_HOST. What is asked of Batch is kept
in the file BATCH_REQUESTS, a line of JSON each: moto itself keeps but some of it.
"""

import io
import json
import os
import sys
from pathlib import Path

import moto.server
from moto.batch.models import Job

_stored = Job._get_container_property


def _property(self: Job, name: str, default: object) -> object:
    """Whole numbers of cores as AWS gives them: 1, not 1.0, which its Java SDK does not read.

    And a job of an array has its index among the variables, which moto leaves out.
    """
    value = _stored(self, name, default)
    if name == "environment" and "index" in self.array_properties:
        index = str(self.array_properties["index"])
        return [*value, {"name": "AWS_BATCH_JOB_ARRAY_INDEX", "value": index}]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Application(moto.server.DomainDispatcherApplication):
    """Refuses to store a result in the folder `refused`, and records what is asked of Batch."""

    def __call__(self, environ, start_response):
        """Answer a request."""
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] == "PUT" and path.endswith("/refused/c2s.h5ad"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
        if path in ("/v1/registerjobdefinition", "/v1/submitjob"):
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(body)
            with Path(os.environ["BATCH_REQUESTS"]).open("a") as file:
                file.write(json.dumps({path.rsplit("/", 1)[1]: json.loads(body)}) + "\n")
        return super().__call__(environ, start_response)


Job._get_container_property = _property
moto.server.DomainDispatcherApplication = Application
sys.exit(moto.server.main(sys.argv[1:]))
