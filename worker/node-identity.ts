/**
 * Who a worker node is to its coordinator: a key of its own and a certificate for it, kept in the scratch folder, so that
 * it joins again without a token. The key never leaves the machine.
 */
import { join } from 'node:path';
import { parseAddress } from '../common/config/address.ts';
import { BatchError } from '../common/core/batch-error.ts';
import type { EnrollRequest } from '../common/core/cluster-messages.ts';
import { limits } from '../common/core/limits.ts';
import { spokenHere } from '../common/core/protocol.ts';
import type { Clock } from '../common/io/clock.ts';
import type { Delay } from '../common/io/delay.ts';
import { reasonOf } from '../common/io/errno.ts';
import { systemRandom } from '../common/io/random.ts';
import type { Log } from '../common/io/log.ts';
import { packageRelease } from '../common/io/package-files.ts';
import { readIfThere, writePrivate } from '../common/io/private-file.ts';
import { connectCluster } from '../common/rpc/cluster-client.ts';
import type { ClusterTrust } from '../common/rpc/credentials.ts';
import { fromGrpcError } from '../common/rpc/grpc-error.ts';
import { expiresMsOf, lifeOf, requestCertificate } from '../common/security/authority.ts';
import { fetchAuthority } from '../common/security/fetch-authority.ts';
import { fingerprintOfPem } from '../common/security/fingerprint.ts';
import type { CoordinatorAddresses } from './coordinator-addresses.ts';

/** What `worker join` was told of the coordinator. */
export interface IdentityOptions {
  readonly addresses: CoordinatorAddresses;
  readonly name: string;
  /** Where key and certificates lie. */
  readonly dir: string;
  readonly token: string | null;
  /** Of the cluster's authority; null: the one that the node has joined before. */
  readonly fingerprint: string | null;
  /** How long it is tried to reach a coordinator. */
  readonly joinMsMax: number;
  /** How long one that is there may have others to serve first; no shorter. */
  readonly busyMsMax: number;
  readonly clock: Clock;
  readonly delay: Delay;
  readonly log: Log;
}

interface Kept {
  readonly authority: string;
  readonly key: string;
  readonly cert: string;
}

type TlsTrust = Extract<ClusterTrust, { kind: 'tls' }>;

export class NodeIdentity {
  readonly #options: IdentityOptions;
  readonly #over = new AbortController();
  /** The coordinator has just given it: it is there. */
  readonly isNew: boolean;
  #kept: Kept;

  private constructor(options: IdentityOptions, kept: Kept, isNew: boolean) {
    this.#options = options;
    this.#kept = kept;
    this.isNew = isNew;
    void this.#keepGood();
  }

  /**
   * What is kept, or a certificate for the token.
   * @throws BatchError USAGE when there is neither, SERVER_UNTRUSTED, TOKEN_INVALID, NAME_TAKEN, COORDINATOR_UNREACHABLE
   */
  static async open(options: IdentityOptions): Promise<NodeIdentity> {
    const kept = await readKept(options);
    if (kept && (await isTaken(options, kept))) return new NodeIdentity(options, kept, false);
    return new NodeIdentity(options, await enroll(options), true);
  }

  /** Of connections to be made now. */
  get trust(): TlsTrust {
    return trustOf(this.#kept);
  }

  close(): void {
    this.#over.abort();
  }

  /** A certificate whose time is two thirds over is traded for a new one, as long as the coordinator can be reached. */
  async #keepGood(): Promise<void> {
    const { clock, log, delay } = this.#options;
    const { signal } = this.#over;
    while (!signal.aborted) {
      const { beginsMs, endsMs } = lifeOf(this.#kept.cert);
      if (endsMs - clock.wall() < (endsMs - beginsMs) / 3) {
        try {
          this.#kept = await certify(this.#options, this.trust, '');
          log.info('the certificate of this node was renewed');
        } catch (error) {
          log.warn('the certificate of this node cannot be renewed yet', { reason: reasonOf(error) });
        }
      }
      await delay(limits.certificateLookMs, signal);
    }
  }
}

/** Whether the coordinator takes a certificate that was kept; one that cannot be asked may take it later. */
async function isTaken(options: IdentityOptions, kept: Kept): Promise<boolean> {
  if (options.token === null) return true;
  // With a token at hand, a certificate that was revoked or forgotten is replaced.
  const address = options.addresses.current;
  const client = connectCluster(address, trustOf(kept));
  const deadline = new Date(options.clock.wall() + limits.joinCallMsMax);
  try {
    await new Promise<void>((resolve, reject) => {
      const request = { ...protocol(), name: options.name, joinToken: '', certificateRequest: '' };
      client.enroll(request, { deadline }, (error) => (error ? reject(fromGrpcError(error, address)) : resolve()));
    });
    return true;
  } catch (error) {
    if (!(error instanceof BatchError)) throw error;
    return error.code !== 'TOKEN_INVALID';
  } finally {
    client.close();
  }
}

async function enroll(options: IdentityOptions): Promise<Kept> {
  const { token, fingerprint, addresses, dir, clock, delay, joinMsMax, busyMsMax } = options;
  const isOther = fingerprint === null ? 'and none is kept' : 'and what is kept is not of this authority';
  if (token === null || fingerprint === null) {
    throw new BatchError(
      'USAGE',
      `joining needs ${token === null ? '--token' : '--ca-fingerprint'}, ${isOther} in ${dir}; take the line that ` +
        '`batchmill coordinator start` or `batchmill node token` prints, or say --insecure where the coordinator says it',
    );
  }
  const begunMs = clock.monotonic();
  let authority: string | null = null;
  for (let tried = 0; ; tried += 1) {
    try {
      authority ??= await fetchAuthority(parseAddress(addresses.current, 'HOST:PORT'), fingerprint, 'h2');
      return await certify(options, { kind: 'tls', authority, identity: null }, token);
    } catch (error) {
      const isAway = error instanceof BatchError && error.code === 'COORDINATOR_UNREACHABLE';
      // One that has shown itself and does not answer in time serves hundreds of others that came at once.
      const triedMsMax = authority === null ? joinMsMax : busyMsMax;
      if (!isAway || clock.monotonic() - begunMs > triedMsMax) throw error;
      addresses.next();
      // Hundreds that were started together must not come again together.
      const waitMs = Math.min(limits.reconnectMsMax, limits.reconnectMsMin * 2 ** tried);
      await delay(waitMs * (0.5 + systemRandom()), new AbortController().signal);
    }
  }
}

/** A new key, and a certificate for it on the word of the token or of the present certificate; kept when it resolves. */
async function certify(options: IdentityOptions, trust: TlsTrust, joinToken: string): Promise<Kept> {
  const { addresses, name, dir, clock } = options;
  const address = addresses.current;
  const { key, request } = await requestCertificate(name);
  const client = connectCluster(address, trust);
  const deadline = new Date(clock.wall() + limits.joinCallMsMax);
  try {
    const wanted = { ...protocol(), name, joinToken, certificateRequest: request };
    const { certificate, authority } = await new Promise<{ certificate: string; authority: string }>(
      (resolve, reject) => {
        client.enroll(wanted, { deadline }, (error, reply) =>
          error || !reply ? reject(fromGrpcError(error, address)) : resolve(reply),
        );
      },
    );
    const kept = { key, cert: certificate, authority };
    // One file, so that no crash leaves a key with another key's certificate.
    await writePrivate(join(dir, fileName), JSON.stringify(kept));
    return kept;
  } finally {
    client.close();
  }
}

const fileName = 'identity.json';

/** Null when there is none that may be used: none, one that has ended, or one of another authority than wanted. */
async function readKept({ dir, fingerprint, clock }: IdentityOptions): Promise<Kept | null> {
  const text = await readIfThere(join(dir, fileName));
  if (text === null) return null;
  try {
    const kept = JSON.parse(text) as Kept;
    const isWanted = fingerprint === null || fingerprintOfPem(kept.authority) === fingerprint;
    return isWanted && kept.key && expiresMsOf(kept.cert) > clock.wall() ? kept : null;
  } catch {
    // Damaged: a token makes a new one.
    return null;
  }
}

function trustOf({ authority, key, cert }: Kept): TlsTrust {
  return { kind: 'tls', authority, identity: { key, cert } };
}

function protocol(): Pick<EnrollRequest, 'protocol' | 'protocolNewest' | 'release'> {
  return { protocol: spokenHere.oldest, protocolNewest: spokenHere.newest, release: packageRelease() };
}
