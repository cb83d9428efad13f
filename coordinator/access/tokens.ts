/**
 * Bearer tokens of callers and join tokens of worker nodes: `bm_<id>_<secret>`. Kept is a SHA-256 of the secret: it has 256
 * random bits, so that nobody finds it by trying, and a slow hash would only make every request slow.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { TokenResource } from '../core/resources.ts';
import type { AccessRecords } from './access-records.ts';

export interface NewToken {
  readonly user: string;
  readonly role: TokenResource['role'];
  readonly ttlMs: number;
  /** Null: any number. */
  readonly uses: number | null;
  readonly createdBy: string;
}

export interface MadeToken {
  /** Shown once. */
  readonly secret: string;
  readonly token: TokenResource;
}

export class Tokens {
  readonly #records: AccessRecords;
  /** By id, milliseconds; of this process. */
  readonly #lastUsed = new Map<string, number>();

  constructor(records: AccessRecords) {
    this.#records = records;
  }

  /** Durable when it resolves. @throws REQUEST_INVALID when there are too many */
  async make({ user, role, ttlMs, uses, createdBy }: NewToken): Promise<MadeToken> {
    const createdMs = this.#records.clock.wall();
    this.#records.sweep();
    if (this.#records.tokens().length >= limits.tokensMax) {
      throw new BatchError('REQUEST_INVALID', `there are ${limits.tokensMax} tokens; revoke those that nobody needs`);
    }
    const id = randomBytes(6).toString('hex');
    const random = randomBytes(32).toString('base64url');
    const token: TokenResource = {
      ...{ kind: 'token', name: id, hash: hashOf(random), user, role, createdMs, createdBy },
      ...{ expiresMs: createdMs + ttlMs, usesLeft: uses },
    };
    await this.#records.put(token);
    return { secret: `bm_${id}_${random}`, token };
  }

  /** @throws TOKEN_INVALID, which does not say what of it is wrong unless the secret is right */
  check(secret: string): TokenResource {
    const [, id = '', random = ''] = /^bm_([0-9a-f]{12})_([\w-]{43})$/.exec(secret) ?? [];
    const token = this.#records.token(id);
    if (!token || !isSame(hashOf(random), token.hash)) {
      throw new BatchError('TOKEN_INVALID', 'the token is not known here, or was revoked');
    }
    const now = this.#records.clock.wall();
    if (token.expiresMs <= now) {
      throw new BatchError('TOKEN_INVALID', `token ${id} has expired at ${new Date(token.expiresMs).toISOString()}`);
    }
    if (token.usesLeft === 0) throw new BatchError('TOKEN_INVALID', `token ${id} has been used as often as it may be`);
    this.#lastUsed.set(id, now);
    return token;
  }

  /** One use less, before what it is used for is done. */
  async use(token: TokenResource): Promise<void> {
    if (token.usesLeft !== null) await this.#records.put({ ...token, usesLeft: token.usesLeft - 1 });
  }

  /** The oldest first. */
  list(): readonly TokenResource[] {
    this.#records.sweep();
    return this.#records.tokens();
  }

  /** Since this process began; null: not. */
  lastUsedMs(id: string): number | null {
    return this.#lastUsed.get(id) ?? null;
  }

  /** @throws RESOURCE_NOT_FOUND */
  async revoke(id: string): Promise<void> {
    await this.#records.remove({ kind: 'token', name: id });
    this.#lastUsed.delete(id);
  }

  /** Join tokens only: whoever has one could bring a node back that has just been shut out. */
  async revokeJoinTokens(): Promise<void> {
    for (const token of this.#records.tokens()) if (token.role === 'join') await this.revoke(token.name);
  }
}

function hashOf(random: string): string {
  return createHash('sha256').update(random).digest('hex');
}

function isSame(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}
