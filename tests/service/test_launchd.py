"""macOS's launchd: the jobs and its command lines, as launchd.plist(5) describes them. None of it was run there."""

import plistlib
from pathlib import PurePosixPath

from devlink.service import launchd

HOME = PurePosixPath("/Users/ann & bob")
COMMAND = ("/opt/devlink/bin/python3", "-P", "/opt/devlink/run.py", "devlink.agent", "--linger", "--profile", "a<b")


def test_the_users_job_runs_from_login_and_is_started_again_only_where_it_fails() -> None:
    job = plistlib.loads(launchd.agent_job(COMMAND, HOME))
    assert job["ProgramArguments"] == list(COMMAND)
    assert (job["Label"], job["RunAtLoad"], job["KeepAlive"]) == ("io.devlink.agent", True, {"SuccessfulExit": False})
    assert job["StandardErrorPath"] == "/Users/ann & bob/Library/Logs/devlink-agent.log"
    assert "UserName" not in job, "launchd lets only root's jobs say whose they are"


def test_the_helpers_job_is_roots_and_writes_nothing_where_a_user_may() -> None:
    job = plistlib.loads(launchd.helper_job(COMMAND))
    assert (job["Label"], job["UserName"], job["KeepAlive"], job["Umask"]) == ("io.devlink.helper", "root", True, 18)
    assert PurePosixPath(job["StandardErrorPath"]).is_relative_to("/Library/Logs")


def test_a_job_is_loaded_by_its_file_and_unloaded_by_its_label() -> None:
    assert launchd.start_agent(501, HOME) == (
        "/bin/launchctl", "bootstrap", "gui/501", "/Users/ann & bob/Library/LaunchAgents/io.devlink.agent.plist",
    )  # fmt: skip
    assert launchd.stop_agent(501)[1:] == ("bootout", "gui/501/io.devlink.agent")
    assert launchd.start_helper()[1:] == ("bootstrap", "system", "/Library/LaunchDaemons/io.devlink.helper.plist")
    assert launchd.stop_helper()[1:] == ("bootout", "system/io.devlink.helper")
