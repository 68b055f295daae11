/** gRPC-Web over `fetch`, for runtimes that have nothing else: workers, edge functions. The server needs --grpc-web. */

import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { baseUrlOf, Caller, type Patience } from "./caller.js";

export function overFetch(baseUrl: string): Transport {
  return createGrpcWebTransport({ baseUrl, useBinaryFormat: true });
}

/** Made once and kept: a runtime reuses its connections. */
export function edgeCaller(server: string, apiKey: string, patience: Patience = {}): Caller {
  return new Caller(overFetch(baseUrlOf(server, apiKey !== "")), () => apiKey, patience);
}
