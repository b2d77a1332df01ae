/* Makes any broker that it is preloaded into forget a topic name at each PUBACK that it sends, as the incident's broker
 * did at each update of a retained message:
 *   cc -shared -fPIC -O1 -o forgetful.so forgetful.c -ldl
 *   LD_PRELOAD=./forgetful.so mosquitto -c mosquitto.conf
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum { PUBACK = 0x40 };

char *forgotten;

static void update_retained_topic(const unsigned char *packet, size_t length) {
    if (length >= 4 && packet[0] == PUBACK) {
        forgotten = strdup("plant/11/line/034/sensor/temperature");
    }
}

ssize_t write(int file, const void *data, size_t length) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) {
        next = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    }
    update_retained_topic(data, length);
    return next(file, data, length);
}

ssize_t send(int file, const void *data, size_t length, int flags) {
    static ssize_t (*next)(int, const void *, size_t, int);
    if (!next) {
        next = (ssize_t (*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    }
    update_retained_topic(data, length);
    return next(file, data, length, flags);
}
