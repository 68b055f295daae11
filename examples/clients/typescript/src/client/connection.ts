/** The connection and the credentials of programs that run on Node. */

import { readFileSync } from "node:fs";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { baseUrlOf, Caller, LARGEST_ANSWER, type Patience } from "./caller.js";
import { overFetch } from "./edge.js";
import { Mistake } from "./money.js";

export interface Settings extends Patience {
  /** host:port, or https://host:port for TLS. */
  server: string;
  /** PEM files: the CA that signed the server's certificate, and for mTLS a certificate of this client. */
  ca?: string | undefined;
  clientCert?: string | undefined;
  clientKey?: string | undefined;
  /** It is read for each call, so a new key needs no restart. */
  apiKeyFile?: string | undefined;
  /** Over `fetch`, as an edge runtime has to, and not over HTTP/2: see edge.ts. */
  grpcWeb?: boolean | undefined;
}

/** The flags of both programs, for `parseArgs`; each is also an environment variable. */
export const CONNECTION_FLAGS = {
  server: { type: "string", default: process.env["LOYALTYD_SERVER"] ?? "127.0.0.1:50051" },
  ca: { type: "string", default: process.env["LOYALTYD_CA"] ?? "" },
  "client-cert": { type: "string", default: process.env["LOYALTYD_CLIENT_CERT"] ?? "" },
  "client-key": { type: "string", default: process.env["LOYALTYD_CLIENT_KEY"] ?? "" },
  "api-key-file": { type: "string", default: process.env["LOYALTYD_API_KEY_FILE"] ?? "" },
  "grpc-web": { type: "boolean", default: process.env["LOYALTYD_GRPC_WEB"] === "true" },
} as const;

type Flags = { [name in keyof typeof CONNECTION_FLAGS]: (typeof CONNECTION_FLAGS)[name]["type"] extends "boolean" ? boolean : string };

export function settings(flags: Flags): Settings {
  return {
    server: flags.server,
    ca: flags.ca || undefined,
    clientCert: flags["client-cert"] || undefined,
    clientKey: flags["client-key"] || undefined,
    apiKeyFile: flags["api-key-file"] || undefined,
    grpcWeb: flags["grpc-web"],
  };
}

/** One connection for the whole program: it reconnects by itself. */
export class Connection extends Caller {
  private readonly sessions: Http2SessionManager | undefined;

  constructor(settings: Settings) {
    const apiKey = () => keyOf(settings);
    const { transport, sessions } = connect(settings, baseUrlOf(settings.server, apiKey() !== ""));
    super(transport, apiKey, settings);
    this.sessions = sessions;
  }

  close(): void {
    this.sessions?.abort();
  }
}

function keyOf({ apiKeyFile }: Settings): string {
  return (read("--api-key-file", apiKeyFile)?.toString() ?? process.env["LOYALTYD_API_KEY"] ?? "").trim();
}

/** What is in the file that a flag names, if it names one. */
function read(flag: string, path: string | undefined): Buffer | undefined {
  try {
    return path ? readFileSync(path) : undefined;
  } catch (thrown) {
    throw new Mistake(`${flag} ${path}: cannot be read (${thrown instanceof Error && "code" in thrown ? thrown.code : thrown})`);
  }
}

function connect(settings: Settings, baseUrl: string): { transport: Transport; sessions: Http2SessionManager | undefined } {
  const { ca: caFile, clientCert, clientKey, grpcWeb } = settings;
  const isTls = baseUrl.startsWith("https://");
  if (!isTls && (caFile || clientCert || clientKey)) {
    throw new Mistake(`certificates are for TLS: write --server https://${settings.server}`);
  }
  if (grpcWeb) {
    if (clientCert || clientKey) {
      throw new Mistake("fetch shows no certificate of the client: leave --client-cert and --client-key out, or --grpc-web");
    }
    if (caFile && process.env["NODE_EXTRA_CA_CERTS"] !== caFile) {
      throw new Mistake(`fetch trusts what Node trusts, which is said before Node starts: NODE_EXTRA_CA_CERTS=${caFile} node ...`);
    }
    return { transport: overFetch(baseUrl), sessions: undefined };
  }
  const [ca, cert, key] = [read("--ca", caFile), read("--client-cert", clientCert), read("--client-key", clientKey)];
  // A connection that is dead without a word, as behind a router that was switched off, is noticed while a call waits.
  const alive = { pingIntervalMs: 30_000, pingTimeoutMs: 5_000, idleConnectionTimeoutMs: 10 * 60_000 };
  const sessions = new Http2SessionManager(baseUrl, alive, isTls ? { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } : {});
  return { transport: createGrpcTransport({ baseUrl, sessionManager: sessions, readMaxBytes: LARGEST_ANSWER }), sessions };
}
