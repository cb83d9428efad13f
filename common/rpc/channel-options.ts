/** Options of both ends of a connection, each with its reason. */
import type { ChannelOptions } from '@grpc/grpc-js';
import { limits } from '../core/limits.ts';

/** What both ends need. */
const sharedOptions = {
  // Without pings a frozen peer, or one behind a cable that was pulled, is never noticed.
  'grpc.keepalive_time_ms': limits.keepaliveMs,
  'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
  // A mini-batch may list a hundred thousand files; grpc-js refuses more than 4 MiB unless told otherwise.
  'grpc.max_receive_message_length': limits.messageBytesMax,
  'grpc.max_send_message_length': limits.messageBytesMax,
} as const satisfies ChannelOptions;

/** Of the coordinator's server. */
export const serverOptions: ChannelOptions = {
  ...sharedOptions,
};

/** Of a control connection where another coordinator may have taken over: one that is frozen is noticed in half the time that a lease takes. */
export const watchedOptions: ChannelOptions = {
  'grpc.keepalive_time_ms': limits.watchedKeepaliveMs,
  'grpc.keepalive_timeout_ms': limits.watchedKeepaliveMs,
};

/** Of a connection that a worker node opens. */
export const clientOptions: ChannelOptions = {
  ...sharedOptions,
  // An idle node's connection is watched too.
  'grpc.keepalive_permit_without_calls': 1,
  // A connection of its own: without it, channels to one address share a socket and a heartbeat waits behind a megabyte.
  'grpc.use_local_subchannel_pool': 1,
  // Work is long-lived and never replayed by the transport; with retries on, grpc-js keeps copies of what was sent.
  'grpc.enable_retries': 0,
  // The worker node's core decides when to try again, with a new connection each time.
  'grpc.initial_reconnect_backoff_ms': limits.reconnectMsMin,
  'grpc.max_reconnect_backoff_ms': limits.reconnectMsMax,
  // A proxy from the environment is for the internet, not for the cluster.
  'grpc.enable_http_proxy': 0,
  // The default of 64 KiB allows one window per round trip: 6 MB/s at 10 ms for models and inputs.
  'grpc-node.flow_control_window': limits.receiveWindowBytes,
};
