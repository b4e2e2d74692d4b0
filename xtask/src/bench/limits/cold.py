"""The cold limit for Python: a bare interpreter imports the handler's module and answers one event over a pipe."""
import sys

sys.path.insert(0, sys.argv[1])
from index import handler

sys.stdout.write(handler(sys.stdin.readline(), None))
sys.stdout.flush()
