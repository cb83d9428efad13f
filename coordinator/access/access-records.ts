/** Tokens and certificates as they stand in the ledger: what is changed is durable before anybody relies on it. */
import type { Clock } from '../../common/io/clock.ts';
import { namedKey, resourceKey, type CertificateResource, type TokenResource } from '../core/resources.ts';
import type { Loop } from '../loop.ts';

export interface AccessRecordsOptions {
  readonly loop: Loop;
  readonly clock: Clock;
}

export class AccessRecords {
  readonly clock: Clock;
  readonly #loop: Loop;

  constructor({ loop, clock }: AccessRecordsOptions) {
    this.#loop = loop;
    this.clock = clock;
  }

  token(id: string): TokenResource | null {
    return (this.#loop.ledger.registry.get(namedKey('token', id))?.resource ?? null) as TokenResource | null;
  }

  /** The oldest first. */
  tokens(): readonly TokenResource[] {
    return this.#loop.ledger.registry.ofKind('token').map(({ resource }) => resource);
  }

  certificate(serial: string): CertificateResource | null {
    return (this.#loop.ledger.registry.get(namedKey('certificate', serial))?.resource ??
      null) as CertificateResource | null;
  }

  /** The oldest first. */
  certificates(): readonly CertificateResource[] {
    return this.#loop.ledger.registry.ofKind('certificate').map(({ resource }) => resource);
  }

  /** Every worker node that is connected now has this name. */
  isConnected(node: string): boolean {
    return [...this.#loop.ledger.nodes.values()].some((one) => one.name === node && one.isConnected);
  }

  /** Counts at once, durable when it resolves. */
  async put(...resources: readonly (TokenResource | CertificateResource)[]): Promise<void> {
    for (const resource of resources) this.#loop.handle({ kind: 'put-resource', resource, ifMatch: null });
    await this.#loop.durable();
  }

  /** @throws RESOURCE_NOT_FOUND */
  async remove(resource: { readonly kind: 'token'; readonly name: string } | CertificateResource): Promise<void> {
    this.#removeAt(namedKey(resource.kind, resource.name));
    await this.#loop.durable();
  }

  /** What has ended by itself is of no use to anybody. */
  sweep(): void {
    const now = this.clock.wall();
    for (const one of [...this.tokens(), ...this.certificates()]) {
      if (one.expiresMs <= now) this.#removeAt(resourceKey(one));
    }
  }

  #removeAt(key: string): void {
    this.#loop.handle({ kind: 'remove-resource', key, ifMatch: null, isForced: true });
  }
}
