/**
 * What must outlive the process: intentions with their request_ids. A file of lines of JSON, each written through to the disk before anything is
 * sent; the last word about an intention counts. It holds cards and phone numbers, so only its owner may read it.
 */

import { createHash, randomUUID } from "node:crypto";
import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Mistake } from "./money.js";

/** Appends records, and reads them back. One process at a time. */
export class Log<Record> {
  records: Record[];
  private file: number;

  private constructor(
    readonly path: string,
    private readonly lock: Server,
  ) {
    this.file = openSync(path, "a+", 0o600);
    const whole = readFileSync(path);
    // A line without its end was being written when the process was killed: nothing was sent then.
    const kept = whole.subarray(0, whole.lastIndexOf("\n") + 1);
    ftruncateSync(this.file, kept.length);
    const lines = kept.toString("utf8").split("\n").filter(Boolean);
    this.records = lines.map((line) => JSON.parse(line) as Record);
    syncFolder(dirname(path));
  }

  static async open<Record>(path: string): Promise<Log<Record>> {
    mkdirSync(dirname(path), { recursive: true });
    return new Log<Record>(path, await takeLock(path));
  }

  append(record: Record): void {
    writeSync(this.file, `${JSON.stringify(record)}\n`);
    fsyncSync(this.file);
    this.records.push(record);
  }

  /** All of it, by these: the old ones or the new ones are there, whatever happens meanwhile. */
  replace(records: Record[]): void {
    const fresh = `${this.path}.new`;
    rmSync(fresh, { force: true });
    closeSync(this.file);
    this.file = openSync(fresh, "a+", 0o600);
    this.records = [];
    for (const record of records) {
      this.append(record);
    }
    renameSync(fresh, this.path);
    syncFolder(dirname(this.path));
  }

  close(): void {
    closeSync(this.file);
    this.lock.close();
  }
}

/** Node has no file locks: a socket on which the process listens that has it. The system closes it with the process, however that ends. */
async function takeLock(path: string): Promise<Server> {
  const name = createHash("sha256").update(resolve(path)).digest("hex").slice(0, 24);
  const socket = join(tmpdir(), `loyaltyd-client-${name}.lock`);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    const server = createServer((caller) => caller.destroy());
    const isFree = await new Promise<boolean>((done, fail) => {
      server.once("error", (error: NodeJS.ErrnoException) => (error.code === "EADDRINUSE" ? done(false) : fail(error)));
      server.listen(socket, () => done(true));
    });
    if (isFree) {
      return server.unref();
    }
    if (await isListening(socket)) {
      break;
    }
    rmSync(socket, { force: true });
  }
  throw new Mistake(`${path} is used by another process: each till needs a --state folder of its own`);
}

async function isListening(socket: string): Promise<boolean> {
  return await new Promise((done) => {
    const caller = connect(socket, () => {
      caller.destroy();
      done(true);
    });
    caller.once("error", () => done(false));
  });
}

/** A file's name is durable only then. */
function syncFolder(folder: string): void {
  const descriptor = openSync(folder, "r");
  fsyncSync(descriptor);
  closeSync(descriptor);
}

interface Noted {
  intention: string;
  /** null: it is settled. */
  requestId: string | null;
}

/** A request_id for each intention, by a name such as `pay cart-77`: the same one until there is an answer, however often it is tried. */
export class Intentions {
  private readonly unsettled = new Map<string, string>();

  private constructor(private readonly log: Log<Noted>) {
    for (const record of this.log.records) {
      this.take(record);
    }
  }

  static async open(path: string): Promise<Intentions> {
    return new Intentions(await Log.open<Noted>(path));
  }

  requestId(intention: string): string {
    const known = this.unsettled.get(intention);
    if (known !== undefined) {
      return known;
    }
    const requestId = randomUUID();
    this.note({ intention, requestId });
    return requestId;
  }

  /** There is an answer, or a refusal: the next time it is another intention. */
  settled(intention: string): void {
    this.note({ intention, requestId: null });
    if (this.unsettled.size === 0) {
      this.log.replace([]);
    }
  }

  close(): void {
    this.log.close();
  }

  private note(record: Noted): void {
    this.log.append(record);
    this.take(record);
  }

  private take({ intention, requestId }: Noted): void {
    if (requestId === null) {
      this.unsettled.delete(intention);
    } else {
      this.unsettled.set(intention, requestId);
    }
  }
}
