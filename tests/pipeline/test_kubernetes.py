"""The pods that `-profile k8s` asks for, field by field; and that they are asked for again.

Nextflow 24.10 has its client of Kubernetes built in; later ones download a plugin.
"""

import os

import pytest
from driving import Nextflow, copy_project
from kubernetes import Cluster, serve

pytestmark = pytest.mark.pipeline

STEPS = """
process QC {
    label 'process_low'
    output:
    path 'counts.txt'
    script:
    'echo cells >counts.txt'
}
process EMBED {
    label 'process_gpu'
    input:
    path counts
    output:
    path 'vectors.txt'
    script:
    "sed s/cells/vectors/ $counts >vectors.txt"
}
workflow {
    EMBED(QC()).view { file -> "made: ${file.text}" }
}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, nextflow_home):
    folder = tmp_path_factory.mktemp("k8s")
    project = copy_project(folder / "project")
    (project / "main.nf").write_text(STEPS)
    nextflow = Nextflow(folder, nextflow_home, "24.10")
    cluster = Cluster("work", evict="EMBED")
    with serve(cluster, folder) as config:
        nextflow.env["KUBECONFIG"] = str(config)
        run = nextflow.run(
            *("-profile", "k8s", "--k8s_claim", "work", "--k8s_mount", folder),
            *("--k8s_namespace", "lab", "--k8s_service_account", "runner"),
            *("--container_registry", "registry.example/lab", "--gpus_per_task", 2),
            *("--max_memory", "20 GB", "--outdir", folder / "results"),
            script=project,
        )
    assert "made: vectors" in run.output
    cluster.folder = folder
    return cluster


def pods(cluster: Cluster, process: str) -> list[dict]:
    return [
        pod
        for pod in cluster.pods.values()
        if pod["metadata"]["labels"]["nextflow.io/processName"] == process
    ]


def test_a_pod(cluster):
    (pod,) = pods(cluster, "QC")
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    assert pod["metadata"]["namespace"] == "lab"
    labels = pod["metadata"]["labels"]
    assert labels["nextflow.io/app"] == "nextflow"
    assert labels["nextflow.io/taskName"] == "QC"
    spec = pod["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["serviceAccountName"] == "runner"
    assert spec["securityContext"] == {"runAsUser": os.getuid()}

    (container,) = spec["containers"]
    assert container["image"] == "registry.example/lab/c2sflow-qc:0.1.0"
    (mount,) = container["volumeMounts"]
    (volume,) = spec["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "work"}
    assert mount["name"] == volume["name"]
    assert mount["mountPath"] == str(cluster.folder)
    assert container["resources"]["requests"] == {"cpu": 2, "memory": "8192Mi"}
    assert container["resources"]["limits"] == {"memory": "8192Mi"}


def test_a_pod_with_gpus_that_lost_its_node(cluster):
    first, second = pods(cluster, "EMBED")
    assert first["metadata"]["name"] in cluster.lost
    for pod in (first, second):  # with the same memory: the task itself did not fail
        (container,) = pod["spec"]["containers"]
        assert container["image"] == "registry.example/lab/c2sflow-embed:0.1.0"
        resources = container["resources"]
        assert resources["requests"] == {"cpu": 4, "memory": "16384Mi", "nvidia.com/gpu": 2}
        assert resources["limits"] == {"memory": "16384Mi", "nvidia.com/gpu": 2}
