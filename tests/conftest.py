"""What all tests share."""


def pytest_configure(config):
    config.addinivalue_line("markers", "pipeline: drives the real Nextflow (minutes)")
