/* Ends QEMU with the guest's verdict: writes the first argument's number to the isa-debug-exit port, after the
 * serial line has drained. /dev/port is not compiled into Debian's cloud kernel. */
#include <stdlib.h>
#include <sys/io.h>
#include <termios.h>

int main(int count, char **arguments) {
    tcdrain(1);
    if (count == 2 && ioperm(0xf4, 4, 1) == 0) outl((unsigned)atoi(arguments[1]), 0xf4);
    return 1;
}
