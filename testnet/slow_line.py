"""A cable between two network namespaces that can be slow and lose frames, for kernels without netem.

Run inside the first namespace: slow_line.py DEVICE OTHER_DEVICE OTHER_NAMESPACE
Both devices are made here, and the second is moved. Each line of standard input, "MILLISECONDS PERCENT", sets what every
frame waits and how many are lost, both ways; the end of standard input ends the cable.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
TAP_WITHOUT_HEADER = 0x0002 | 0x1000
MAX_WAITING = 20_000


def tap(name):
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", name.encode(), TAP_WITHOUT_HEADER))
    return end


def main():
    device, other, namespace = sys.argv[1:]
    ends = [tap(device), tap(other)]
    subprocess.run(["ip", "link", "set", other, "netns", namespace], check=True)
    print("ready", flush=True)
    across = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting, number, delay, loss, begun = [], 0, 0.0, 0.0, b""
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([sys.stdin.fileno(), *ends], [], [], timeout)
        for source in readable:
            if source not in across:
                told = os.read(source, 64)
                if not told:
                    return
                # What comes need not end where a line does.
                *lines, begun = (begun + told).split(b"\n")
                if lines:
                    milliseconds, percent = lines[-1].split()
                    delay, loss = float(milliseconds) / 1000, float(percent) / 100
                continue
            for _ in range(64):
                try:
                    frame = os.read(source, 65536)
                except BlockingIOError:
                    break
                except OSError:  # the device is down
                    break
                if random.random() >= loss and len(waiting) < MAX_WAITING:
                    number += 1
                    heapq.heappush(waiting, (time.monotonic() + delay, number, across[source], frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, to, frame = heapq.heappop(waiting)
            try:
                os.write(to, frame)
            except OSError:  # down, or full: lost, as on any cable
                pass


main()
