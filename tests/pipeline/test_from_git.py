"""The pipeline by the address of its repository and a tag, as most people run one."""

import subprocess

from driving import Nextflow, copy_project


def git(folder, *arguments):
    """Run git there, as somebody."""
    somebody = ("-c", "user.name=Tester", "-c", "user.email=tester@localhost")
    subprocess.run(["git", *somebody, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_tag_of_a_bare_repository(tmp_path):
    """Fetched by Nextflow itself, that commit and no later one."""
    project = copy_project(tmp_path / "c2sflow")
    git(project, "init", "--initial-branch", "main")
    git(project, "add", "--all")
    git(project, "commit", "--message", "as it is")
    git(project, "tag", "v1")
    (project / "main.nf").write_text("error 'a later commit'\n")
    git(project, "commit", "--all", "--message", "later")
    git(tmp_path, "clone", "--bare", str(project), "served.git")

    nextflow = Nextflow(tmp_path, tmp_path / "home")
    nextflow.env["NXF_OFFLINE"] = "false"
    run = nextflow.run("-r", "v1", "--help", script=f"file:{tmp_path}/served.git")
    assert "Pulling local/served" in run.output
    assert "[v1]" in run.output
    assert "--input" in run.output
    assert (tmp_path / "home/assets/local/served/bin/c2s").exists()
