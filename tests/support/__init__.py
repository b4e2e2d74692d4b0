"""What the suites share: the real server as a child process, functions deployed to it, the host seen through /proc."""
