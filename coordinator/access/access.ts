/**
 * Everything by which a coordinator knows who it speaks with: its authority, tokens, certificates of worker nodes and the
 * audit log, as the doors want them.
 */
import type { Address } from '../../common/config/address.ts';
import { limits } from '../../common/core/limits.ts';
import type { Log } from '../../common/io/log.ts';
import type { Authority, KeyPairPem } from '../../common/security/authority.ts';
import type { AccessBackend } from '../api/access-routes.ts';
import type { TokenResource } from '../core/resources.ts';
import type { NodeGate } from '../service/cluster-server.ts';
import type { DoorCertificate } from '../service/tls-door.ts';
import type { AccessRecords } from './access-records.ts';
import type { AuditLine, AuditLog } from './audit-log.ts';
import { joinLine } from './join-line.ts';
import { namesOfMachine } from './authority-files.ts';
import { NodeCertificates } from './node-certificates.ts';
import type { Secrets, SecretView } from './secrets.ts';
import { Tokens, type MadeToken, type NewToken } from './tokens.ts';

export interface AccessOptions {
  readonly authority: Authority;
  readonly records: AccessRecords;
  readonly audit: AuditLog;
  readonly secrets: Secrets;
  readonly log: Log;
  /** Hosts that are listened on. */
  readonly hosts: readonly string[];
  /** How long certificates of worker nodes are good; default {@link limits.nodeCertificateMs}. */
  readonly nodeCertificateMs?: number;
}

type ServerCertificate = KeyPairPem & { readonly expiresMs: number };

export class Access implements AccessBackend {
  readonly tokens: Tokens;
  readonly gate: NodeGate;
  readonly #options: AccessOptions;
  readonly #certificates: NodeCertificates;
  #server: ServerCertificate;
  #listen: Address | null = null;
  #cut: (serial: string) => void = () => undefined;

  private constructor(options: AccessOptions, server: ServerCertificate) {
    const { authority, records, audit, nodeCertificateMs: lifeMs = limits.nodeCertificateMs } = options;
    this.#options = options;
    this.#server = server;
    this.tokens = new Tokens(records);
    this.#certificates = new NodeCertificates({ authority, records, tokens: this.tokens, audit, lifeMs });
    this.gate = this.#certificates;
  }

  /** With a certificate for the server. */
  static async open(options: AccessOptions): Promise<Access> {
    return new Access(options, await serverCertificate(options));
  }

  get authority(): Authority {
    return this.#options.authority;
  }

  /** Of the server, for both of its ports. */
  get certificate(): DoorCertificate {
    return { key: this.#server.key, cert: this.#server.cert, authority: this.authority.cert };
  }

  /** Where worker nodes are served, and how connections of a certificate are ended. */
  serves(listen: Address, cut: (serial: string) => void): void {
    this.#listen = listen;
    this.#cut = cut;
  }

  /** Makes a new certificate for the server when the one before has a third of its time left; whether it did. */
  async renewIfDue(): Promise<boolean> {
    const restMs = this.#server.expiresMs - this.#options.records.clock.wall();
    if (restMs > limits.serverCertificateMs / 3) return false;
    this.#server = await serverCertificate(this.#options);
    this.#options.log.info("the server's certificate was renewed");
    return true;
  }

  makeToken(wanted: NewToken): Promise<MadeToken> {
    return this.tokens.make(wanted);
  }

  listTokens(): readonly { readonly token: TokenResource; readonly lastUsedMs: number | null }[] {
    return this.tokens.list().map((token) => ({ token, lastUsedMs: this.tokens.lastUsedMs(token.name) }));
  }

  revokeToken(id: string): Promise<void> {
    return this.tokens.revoke(id);
  }

  joinLine(secret: string): string {
    return joinLine(this.#listen, secret, this.authority.fingerprint);
  }

  certificates(): ReturnType<NodeCertificates['list']> {
    return this.#certificates.list();
  }

  async revokeNode(node: string): Promise<void> {
    for (const serial of await this.#certificates.revoke(node)) this.#cut(serial);
  }

  secrets(): readonly SecretView[] {
    return this.#options.secrets.list();
  }

  setSecret(name: string, value: string): Promise<SecretView> {
    return this.#options.secrets.set(name, value, this.#options.records.clock.wall());
  }

  removeSecret(name: string): Promise<void> {
    return this.#options.secrets.remove(name);
  }

  readAudit(limit: number, before: string | null): Promise<readonly AuditLine[]> {
    return this.#options.audit.read(limit, before);
  }
}

function serverCertificate({ authority, records, hosts }: AccessOptions): Promise<ServerCertificate> {
  return authority.issueServer(namesOfMachine(hosts), records.clock.wall());
}
