"""A disk that fills up: a small tmpfs over a folder, in a mount namespace of its own, which ends with the
test. Works as root, as a user who may make user namespaces, and in a chroot or container whose root is no
mount point; where none of it is allowed the test that wants one is skipped, with the reason."""
import os
import subprocess

import pytest

from tests.harness.wait import wait_until

# A namespace's mounts are made private where they can be. Where "/" is no mount point that fails; then
# they stay as they are, and close() takes back what a shared parent may have passed on.
WAYS = ([], ["--propagation", "unchanged"])
USER = ["--user", "--map-root-user"]


class SmallDisk:
    def __init__(self, folder, mib):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.users = os.geteuid() != 0
        said = []
        for way in WAYS:
            own = USER if self.users else []
            self.holder = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", "unshare", *own, "--mount", *way, "sh", "-c",
                 f"mount -t tmpfs -o size={mib}m,mode=0700 tmpfs '{folder}' && echo ready && exec cat"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if self.holder.stdout.readline() == b"ready\n":
                return
            said.append(self.holder.communicate()[1].decode().strip())
        pytest.skip("no small file system can be mounted here: " + "; ".join(said))

    def inside(self, command):
        """The namespace's root is that of the machine, so a chroot is entered again, too."""
        user = ["--preserve-credentials", "--user"] if self.users else []
        return ["nsenter", *user, "--mount", "--root", "--wd", f"--target={self.holder.pid}", "--",
                *map(str, command)]

    def run(self, *command):
        return subprocess.check_output(self.inside(command), text=True)

    def mount(self, folder, mib):
        """One more, below the first."""
        self.run("mkdir", "-p", folder)
        self.run("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", folder)

    def resize(self, mib, folder=None):
        self.run("mount", "-o", f"remount,size={mib}m", folder or self.folder)

    def fill(self, folder):
        """Takes what is free away, but for a page (0 would be no limit), while others may be writing."""
        def shrunk():
            used = int(self.run("df", "--output=used", "--block-size=1", folder).split()[-1])
            try:
                self.run("mount", "-o", f"remount,size={max(used, 4096)}", folder)
            except subprocess.CalledProcessError:
                return False # more is there by now
            return True
        wait_until(shrunk, f"{folder} is full", 30)

    def close(self):
        subprocess.run(self.inside(["umount", "--lazy", self.folder]), check=False)
        self.holder.kill()
        self.holder.communicate()
