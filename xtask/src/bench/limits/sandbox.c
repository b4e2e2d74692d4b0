/* The limit for sustained cold starts: makes and ends sandboxes with the system calls the platform makes, and nothing else.
 *
 *   sandbox COUNT CODE_DIRECTORY [each]     prints the seconds that COUNT sandboxes took, create to destroy
 *
 * Each: a user namespace of its own, cgroups (v1 hybrid or v2), pid, mount, ipc, uts, network and cgroup namespaces,
 * two listeners, a file tree of binds and overlays (a copy of one made once; with `each`, built from the beginning with
 * binds and pivot_root), an ext4 volume in a loop device for /tmp, one uid without
 * capabilities, Landlock, a system call filter of the platform's length, the exec of CODE_DIRECTORY/bootstrap (which ends
 * at once), and the way back. Two makers, as the platform has spawners, with several sandboxes under way each.
 * Compiled by the harness: cc -O2. Needs root, Linux 6.8 or later. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAKERS = 2, UNDER_WAY = 8, INSIDE_USER = 993, INSIDE_GROUP = 990, VOLUME_MIB = 512 };
enum { FILTER_LENGTH = 240, FIRST_UID = 0x70000000 };

/* Not in <sys/mount.h> together with <linux/mount.h>. */
enum { MS_NOSUID_ = 2, MS_NODEV_ = 4, MS_NOEXEC_ = 8, MS_REC_ = 16384, MS_PRIVATE_ = 1 << 18, DETACH_ = 2 };
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);

static char code[4096], work[64], staging[96], empty[96];
static char parents[4][256];
static int hierarchies, version_two, template_image, root_namespace = -1, maker;
static off_t template_bytes;

static void fail(const char *what) {
  fprintf(stderr, "failed to %s: %s\n", what, strerror(errno));
  _exit(1);
}
#define TRY(call, what) \
  do { if ((call) < 0) fail(what); } while (0)

static void put(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CLOEXEC | O_CREAT, 0644);
  if (file < 0 || write(file, text, strlen(text)) < 0) fail(path);
  close(file);
}

static char *at(const char *format, ...) {
  static char paths[8][4096];
  static int next;
  char *path = paths[next++ % 8];
  va_list rest;
  va_start(rest, format);
  vsnprintf(path, sizeof paths[0], format, rest);
  va_end(rest);
  return path;
}

/* --- Once ----------------------------------------------------------------------------------------------------- */

static void find_hierarchies(void) {
  char controllers[4096] = "";
  int file = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY | O_CLOEXEC);
  if (file >= 0 && read(file, controllers, sizeof controllers - 1) > 0 && strstr(controllers, "memory")) {
    version_two = 1;
    hierarchies = 1;
    snprintf(parents[0], sizeof parents[0], "/sys/fs/cgroup/limit-%d", getpid());
    put("/sys/fs/cgroup/cgroup.subtree_control", "+memory +cpu +pids");
  } else {
    const char *names[] = {"memory", "cpu", "pids", "unified"};
    for (hierarchies = 0; hierarchies < 4; hierarchies++)
      snprintf(parents[hierarchies], sizeof parents[0], "/sys/fs/cgroup/%s/limit-%d", names[hierarchies], getpid());
  }
  for (int each = 0; each < hierarchies; each++) TRY(mkdir(parents[each], 0755), parents[each]);
  if (version_two) put(at("%s/cgroup.subtree_control", parents[0]), "+memory +cpu +pids");
}

static void make_template(void) {
  char *image = at("%s/template", work);
  char *command = at("mkfs.ext4 -q -F -m 0 -b 4096 -i 16384 -O ^has_journal,^resize_inode,^metadata_csum "
                     "-E lazy_itable_init=1,nodiscard,root_owner=993:990 %s %dM >/dev/null 2>&1", image, VOLUME_MIB);
  if (system(command) != 0) fail("make the volume's template");
  TRY(template_image = open(image, O_RDWR | O_CLOEXEC), "open the template");
  struct stat status;
  fstat(template_image, &status);
  template_bytes = status.st_size;
}

/* --- What the maker prepares ---------------------------------------------------------------------------------- */

static int make_user_namespace(unsigned uid) {
  int ready[2], kept;
  char byte = 0, map[64];
  TRY(pipe2(ready, O_CLOEXEC), "make a pipe");
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_SECUREBITS, 1 << 2);
    if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)) fail("become the uid");
    TRY(unshare(CLONE_NEWUSER), "make a user namespace");
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    for (;;) pause();
  }
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) fail("make a user namespace");
  close(ready[0]);
  snprintf(map, sizeof map, "%d %u 1\n", INSIDE_USER, uid);
  put(at("/proc/%d/uid_map", child), map);
  snprintf(map, sizeof map, "%d %u 1\n", INSIDE_GROUP, uid);
  put(at("/proc/%d/gid_map", child), map);
  TRY(kept = open(at("/proc/%d/ns/user", child), O_RDONLY | O_CLOEXEC), "keep the user namespace");
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return kept;
}

static int make_volume(void) {
  int file, control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  TRY(control, "open /dev/loop-control");
  TRY(file = open(work, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), "make a volume");
  TRY(ftruncate(file, template_bytes), "size a volume");
  for (off_t start, end = 0; (start = lseek(template_image, end, SEEK_DATA)) >= 0;) {
    end = lseek(template_image, start, SEEK_HOLE);
    loff_t from = start, to = start;
    while (from < end)
      if (copy_file_range(template_image, &from, file, &to, end - from, 0) <= 0) fail("copy the template");
  }
  struct loop_config config = {.fd = (unsigned)file, .block_size = 4096, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
  for (int attempt = 0; attempt < 256; attempt++) {
    int number = ioctl(control, LOOP_CTL_GET_FREE), device, kept;
    TRY(number, "find a loop device");
    char *path = at("/dev/loop%d", number);
    if ((device = open(path, O_RDWR | O_CLOEXEC)) < 0) {
      mknod(path, S_IFBLK | 0600, makedev(7, number));
      continue;
    }
    if (ioctl(device, LOOP_CONFIGURE, &config) == 0) {
      TRY(kept = open(path, O_RDONLY | O_CLOEXEC), "keep a loop device");
      close(device), close(file), close(control);
      return kept;
    }
    close(device);
    if (errno != EBUSY) break;
  }
  fail("attach a loop device");
  return -1;
}

/* --- In the sandbox ------------------------------------------------------------------------------------------- */

static void seal(int mounted, unsigned long attributes, int user_namespace) {
  struct mount_attr attr = {.attr_set = attributes};
  if (user_namespace >= 0) attr.attr_set |= MOUNT_ATTR_IDMAP, attr.userns_fd = (unsigned)user_namespace;
  TRY(syscall(SYS_mount_setattr, mounted, "", AT_EMPTY_PATH, &attr, sizeof attr), "set a mount's attributes");
}

static void move(int mounted, const char *target) {
  TRY(syscall(SYS_move_mount, mounted, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH), target);
  close(mounted);
}

static void bind_tree(const char *host, const char *target) {
  int source = open(host, O_PATH | O_CLOEXEC), mounted;
  if (source < 0) return; /* Not on this host. */
  for (char *path = strdup(target), *slash = path + strlen(staging) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
    *slash = 0;
    mkdir(path, 0755);
  }
  mkdir(target, 0755);
  mounted = (int)syscall(SYS_open_tree, source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  TRY(mounted, "clone a mount");
  seal(mounted, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, -1);
  move(mounted, target);
  close(source);
}

static void setting(int context, const char *key, const char *value) {
  TRY(syscall(SYS_fsconfig, context, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0), key);
}

static int create(int context, unsigned attributes) {
  int mounted;
  TRY(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "create a mount");
  TRY(mounted = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes), "make a mount");
  close(context);
  return mounted;
}

static int mount_volume(int device, int user_namespace) {
  struct stat status;
  fstat(device, &status);
  int context = (int)syscall(SYS_fsopen, "ext4", FSOPEN_CLOEXEC);
  TRY(context, "open ext4");
  setting(context, "source", at("/dev/loop%d", minor(status.st_rdev)));
  setting(context, "discard", NULL);
  setting(context, "noinit_itable", NULL);
  setting(context, "nobarrier", NULL);
  int mounted = create(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  seal(mounted, 0, user_namespace);
  return mounted;
}

static int make_code(void) {
  int source = open(code, O_PATH | O_CLOEXEC), second = open(empty, O_PATH | O_CLOEXEC);
  int context = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
  TRY(context, "open an overlay");
  setting(context, "source", "limit");
  setting(context, "lowerdir", at("/proc/self/fd/%d:/proc/self/fd/%d", source, second));
  int mounted = create(context, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  close(source), close(second);
  return mounted;
}

static int make_proc(void) {
  int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
  TRY(context, "open proc");
  setting(context, "source", "proc");
  return create(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

static void listen_on(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  TRY(bind(listener, (struct sockaddr *)&address, sizeof address), "bind a listener");
  TRY(listen(listener, 128), "listen");
}

/* What is the same in all of them. */
static void build_root(void) {
  static const char *directories[] = {"proc", "dev", "etc", "tmp", "opt", "var", "var/task", "var/runtime", "var/lang", "mnt", "usr", "run"};
  static const char *links[] = {"bin", "sbin", "lib", "lib64", "lib32"};
  static const char *binds[] = {"usr/bin", "usr/sbin", "usr/lib", "usr/lib32", "usr/lib64", "usr/libexec",
    "usr/share/zoneinfo", "usr/share/locale", "usr/share/nodejs", "usr/share/ca-certificates",
    "usr/local/share/ca-certificates", "etc/ssl/certs", "etc/pki/tls/certs", "etc/alternatives"};
  static const char *files[][2] = {{"passwd", "root:x:0:0:root:/root:/sbin/nologin\n"}, {"group", "root:x:0:\n"},
    {"hosts", "127.0.0.1 localhost\n"}, {"resolv.conf", ""}, {"nsswitch.conf", "hosts: files dns\n"}, {"hostname", "sandbox\n"}};
  static const struct { const char *name; int number; } devices[] = {{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};
  TRY(mount("limit", staging, "tmpfs", MS_NOSUID_ | MS_NODEV_, "size=1m,nr_inodes=1024,mode=0755"), "mount the root");
  for (unsigned each = 0; each < sizeof directories / sizeof *directories; each++) mkdir(at("%s/%s", staging, directories[each]), 0755);
  for (unsigned each = 0; each < sizeof links / sizeof *links; each++) {
    char target[256];
    ssize_t length = readlink(at("/%s", links[each]), target, sizeof target - 1);
    if (length > 0) target[length] = 0, (void)!symlink(target, at("%s/%s", staging, links[each]));
  }
  for (unsigned each = 0; each < sizeof files / sizeof *files; each++) put(at("%s/etc/%s", staging, files[each][0]), files[each][1]);
  for (unsigned each = 0; each < sizeof binds / sizeof *binds; each++) {
    char host[256], target[256];
    snprintf(host, sizeof host, "/%s", binds[each]);
    snprintf(target, sizeof target, "%s/%s", staging, binds[each]);
    bind_tree(host, target);
  }
  TRY(mount("limit", at("%s/dev", staging), "tmpfs", MS_NOSUID_ | MS_NOEXEC_, "size=4k,nr_inodes=32,mode=0755"), "mount /dev");
  for (unsigned each = 0; each < sizeof devices / sizeof *devices; each++) {
    char *path = at("%s/dev/%s", staging, devices[each].name);
    TRY(mknod(path, S_IFCHR | 0666, makedev(1, devices[each].number)), "make a device");
    chmod(path, 0666);
  }
  static const char *streams[][2] = {{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}};
  for (int each = 0; each < 4; each++) (void)!symlink(streams[each][0], at("%s/dev/%s", staging, streams[each][1]));
  int sealed = open(at("%s/dev", staging), O_PATH | O_CLOEXEC);
  seal(sealed, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, -1);
  close(sealed);
  TRY(chdir(staging), "enter the root");
  TRY(syscall(SYS_pivot_root, ".", "."), "pivot");
  TRY(umount2(".", DETACH_), "leave the old root");
  TRY(chdir("/"), "enter the root");
  sealed = open("/", O_PATH | O_CLOEXEC);
  seal(sealed, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, -1);
  close(sealed);
}

static void build_tree(int device, int user_namespace) {
  int temporary = mount_volume(device, user_namespace), task = make_code(), processes = make_proc();
  if (root_namespace >= 0) TRY(setns(root_namespace, CLONE_NEWNS), "enter the root");
  TRY(unshare(CLONE_NEWNS), "make a mount namespace");
  if (root_namespace < 0) build_root();
  move(processes, "/proc");
  move(task, "/var/task");
  move(temporary, "/tmp");
}

static void make_root(void) {
  int ready[2], done[2];
  char byte = 0;
  TRY(pipe2(ready, O_CLOEXEC), "make a pipe");
  TRY(pipe2(done, O_CLOEXEC), "make a pipe");
  pid_t child = fork();
  if (child == 0) {
    TRY(unshare(CLONE_NEWNS), "make a mount namespace");
    build_root();
    if (write(ready[1], &byte, 1) != 1 || close(done[1]) || read(done[0], &byte, 1) < 0) _exit(1);
    _exit(0);
  }
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) fail("make the root");
  TRY(root_namespace = open(at("/proc/%d/ns/mnt", child), O_RDONLY | O_CLOEXEC), "keep the root");
  close(ready[0]), close(done[0]), close(done[1]);
  waitpid(child, NULL, 0);
}

static void restrict_files(void) {
  struct { uint64_t fs, net, scoped; } handled = {.fs = 0x1fff};
  struct { uint64_t allowed; int32_t parent; } __attribute__((packed)) beneath = {.allowed = 0x1fff};
  int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, 8, 0);
  if (rules < 0) return; /* Not in this kernel; the platform goes on too. */
  static const char *paths[] = {"/", "/tmp", "/mnt", "/dev", "/proc"};
  for (int each = 0; each < 5; each++) {
    beneath.parent = open(paths[each], O_PATH | O_CLOEXEC);
    TRY(syscall(SYS_landlock_add_rule, rules, 1, &beneath, 0), "add a Landlock rule");
    close(beneath.parent);
  }
  TRY(syscall(SYS_landlock_restrict_self, rules, 0), "apply Landlock");
  close(rules);
}

/* As long as the platform's filter; every call passes, because what runs here is known. */
static void filter_calls(void) {
  struct sock_filter program[FILTER_LENGTH];
  program[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
  for (int each = 1; each < FILTER_LENGTH - 1; each++)
    program[each] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 100000 + each, 0, 0);
  program[FILTER_LENGTH - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog filter = {FILTER_LENGTH, program};
  TRY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter), "install the filter");
}

static void live(const char *name, int device, int user_namespace) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int each = 0; each < hierarchies; each++) put(at("%s/%s/cgroup.procs", parents[each], name), "0");
  TRY(unshare(CLONE_NEWCGROUP), "make a cgroup namespace");
  sethostname("sandbox", 7);
  struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  TRY(ioctl(any, SIOCSIFFLAGS, &loopback), "bring loopback up");
  close(any);
  listen_on(9001);
  listen_on(9002);
  build_tree(device, user_namespace);
  close(device);
  setgroups(0, NULL);
  TRY(setns(user_namespace, CLONE_NEWUSER), "enter the user namespace");
  if (setresgid(INSIDE_GROUP, INSIDE_GROUP, INSIDE_GROUP) || setresuid(INSIDE_USER, INSIDE_USER, INSIDE_USER)) fail("become the inside user");
  for (int each = 0; each <= CAP_LAST_CAP; each++) prctl(PR_CAPBSET_DROP, each);
  struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {{0}};
  TRY(syscall(SYS_capset, &head, none), "drop the capabilities");
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  restrict_files();
  filter_calls();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  int reaper = signalfd(-1, &signals, SFD_CLOEXEC);
  pid_t command = fork();
  if (command == 0) {
    sigprocmask(SIG_UNBLOCK, &signals, NULL);
    setsid();
    struct rlimit files = {1024, 1024}, core = {1, 1};
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_CORE, &core);
    (void)!chdir("/var/task");
    syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
    execl("/var/task/bootstrap", "bootstrap", NULL);
    _exit(127);
  }
  struct signalfd_siginfo information;
  int status = 0;
  if (read(reaper, &information, sizeof information) < 0) _exit(1);
  waitpid(command, &status, 0);
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* --- Making and ending ---------------------------------------------------------------------------------------- */

struct running { pid_t pid; int pidfd; char name[40]; };

static void start(struct running *running, int number) {
  unsigned uid = FIRST_UID + maker * 4096 + number % 4096;
  snprintf(running->name, sizeof running->name, "%d-%d", maker, number);
  int user_namespace = make_user_namespace(uid);
  for (int each = 0; each < hierarchies; each++) TRY(mkdir(at("%s/%s", parents[each], running->name), 0755), "make a cgroup");
  if (version_two) {
    put(at("%s/%s/memory.max", parents[0], running->name), "536870912");
    put(at("%s/%s/pids.max", parents[0], running->name), "1024");
  } else {
    put(at("%s/%s/memory.limit_in_bytes", parents[0], running->name), "536870912");
    put(at("%s/%s/cpu.cfs_period_us", parents[1], running->name), "20000");
    put(at("%s/%s/pids.max", parents[2], running->name), "1024");
  }
  int device = make_volume();
  struct clone_args arguments = {
    .flags = CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_PIDFD,
    .pidfd = (uintptr_t)&running->pidfd, .exit_signal = SIGCHLD};
  running->pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
  TRY(running->pid, "clone");
  if (running->pid == 0) live(running->name, device, user_namespace);
  close(device), close(user_namespace);
}

static void finish(struct running *running) {
  close(running->pidfd);
  for (int each = 0; each < hierarchies; each++)
    while (rmdir(at("%s/%s", parents[each], running->name)) < 0) {
      if (errno != EBUSY) fail("remove a cgroup");
      usleep(500);
    }
  running->pid = 0;
}

static int make(int count) {
  struct running all[UNDER_WAY] = {{0}};
  for (int started = 0, ended = 0; ended < count;) {
    for (int each = 0; each < UNDER_WAY && started < count; each++)
      if (all[each].pid == 0) start(&all[each], started++);
    int status;
    pid_t pid = wait(&status);
    for (int each = 0; each < UNDER_WAY; each++)
      if (all[each].pid == pid) {
        if (!WIFEXITED(status) || WEXITSTATUS(status)) fprintf(stderr, "a sandbox failed: %d\n", status), _exit(1);
        finish(&all[each]);
        ended++;
      }
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  int count = atoi(argv[1]), failed = 0;
  if (!realpath(argv[2], code)) fail("find the code");
  snprintf(work, sizeof work, "/var/tmp/limit-%d", getpid());
  snprintf(staging, sizeof staging, "%s/staging", work);
  snprintf(empty, sizeof empty, "%s/empty", work);
  if (mkdir(work, 0755) || mkdir(staging, 0755) || mkdir(empty, 0755)) fail("make the working directory");
  find_hierarchies();
  make_template();
  TRY(unshare(CLONE_NEWNS), "make a mount namespace");
  TRY(mount(NULL, "/", NULL, MS_REC_ | MS_PRIVATE_, NULL), "make the mounts private");
  if (argc == 3) make_root();
  struct timespec begun, ended;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  for (maker = 0; maker < MAKERS; maker++)
    if (fork() == 0) _exit(make(count / MAKERS));
  for (int status; wait(&status) > 0;) failed |= status;
  clock_gettime(CLOCK_MONOTONIC, &ended);
  for (int each = 0; each < hierarchies; each++) rmdir(parents[each]);
  unlink(at("%s/template", work)), rmdir(staging), rmdir(empty), rmdir(work);
  if (failed) return 1;
  printf("%.6f\n", (double)(ended.tv_sec - begun.tv_sec) + (double)(ended.tv_nsec - begun.tv_nsec) / 1e9);
  return 0;
}
