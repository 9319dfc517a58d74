/** Time as an argument, and the name of the clock that it is read from. */

import { randomUUID } from "node:crypto";
import { readFileSync, statSync } from "node:fs";

/** Durations come from `monotonicNs`, never from the wall clock. */
export interface Clock {
  /** Nanoseconds that only grow, from an arbitrary start. */
  monotonicNs(): bigint;
}

/** The machine's monotonic clock; on Linux all processes of one boot share it. */
export const systemClock: Clock = { monotonicNs: () => process.hrtime.bigint() };

/**
 * Names this host's monotonic clock as the mesh does: Linux's boot id and the inode of the time namespace, elsewhere an
 * id of this process's own. Processes that show the same id may compare their monotonic times.
 */
export function clockId(): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "ascii").trim();
    return `${boot}:${statSync("/proc/self/ns/time").ino}`;
  } catch {
    return randomUUID().replaceAll("-", "");
  }
}
