#!/bin/sh
# Peer: bubblewrap around the bare interpreter, for cold calls. Debian: apt-get install bubblewrap.
# Its wall: namespaces, a read-only file tree and one uid; no limits, no system call filter, no /tmp volume.
# See ../rows/peers.rs for what a script answers.
case "$1" in
  installed) command -v bwrap >/dev/null ;;
  describe) echo "$(bwrap --version) + $("$INTERPRETER" --version)" ;;
  measures) echo cold python ;;
  command)
    printf '%s\n' bwrap --unshare-all --die-with-parent --uid 993 --gid 990 --ro-bind /usr /usr \
      --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin --proc /proc --dev /dev --tmpfs /tmp \
      --ro-bind "$FOLDER" /var/task --ro-bind "$LIMITS/cold.py" /var/cold.py \
      "$INTERPRETER" -I -S /var/cold.py /var/task ;;
esac
