/** Certificates of worker nodes: issued for a join token or a certificate that is still good, looked up, revoked. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { EnrollReply, EnrollRequest } from '../../common/core/cluster-messages.ts';
import { isNodeName, nodeName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { packageRelease } from '../../common/io/package-files.ts';
import type { Authority } from '../../common/security/authority.ts';
import type { CertificateResource } from '../core/resources.ts';
import type { NodeGate } from '../service/cluster-server.ts';
import { sessionProtocol } from '../session-protocol.ts';
import type { AccessRecords } from './access-records.ts';
import type { AuditLog } from './audit-log.ts';
import type { Tokens } from './tokens.ts';

export interface NodeCertificatesOptions {
  readonly authority: Authority;
  readonly records: AccessRecords;
  readonly tokens: Tokens;
  readonly audit: AuditLog;
  readonly lifeMs: number;
}

export class NodeCertificates implements NodeGate {
  readonly #options: NodeCertificatesOptions;

  constructor(options: NodeCertificatesOptions) {
    this.#options = options;
  }

  nodeOf(serial: string): NodeName | null {
    const { records } = this.#options;
    const known = records.certificate(serial);
    if (!known || known.revokedMs !== null || known.expiresMs <= records.clock.wall()) return null;
    return nodeName(known.node);
  }

  /**
   * A certificate of one's own is renewed without a token. With a token any name may be taken that no connected node has;
   * what that name had before is revoked, so that a name has one owner.
   */
  async enroll(request: EnrollRequest, certified: NodeName | null): Promise<EnrollReply> {
    const { audit, tokens } = this.#options;
    const entry = { tokenId: null, method: 'ENROLL', path: '', resource: `nodes/${request.name}` };
    let user = `node:${certified ?? ''}`;
    try {
      // Before the token is used: what cannot join needs no certificate.
      sessionProtocol(request, packageRelease());
      if (certified === null) {
        const token = tokens.check(request.joinToken);
        user = token.user;
        if (token.role !== 'join') throw new BatchError('TOKEN_INVALID', `token ${token.name} is not one to join with`);
        this.#refuseTaken(request.name);
        await tokens.use(token);
        const reply = await this.#issue(request, token.user);
        audit.record({ ...entry, user, tokenId: token.name, remote: null, status: 200 });
        return reply;
      }
      if (request.name !== certified) {
        throw new BatchError('TOKEN_INVALID', `the certificate is that of worker node ${certified}`);
      }
      const reply = await this.#issue(request, `node:${certified}`);
      audit.record({ ...entry, user, remote: null, status: 200 });
      return reply;
    } catch (error) {
      const status = error instanceof BatchError ? error.rule.http : 500;
      // A node that looks whether its certificate is still good asks for nothing.
      if (request.certificateRequest !== '') audit.record({ ...entry, user, remote: null, status });
      throw error;
    }
  }

  /** The newest of each name last. */
  list(): readonly CertificateResource[] {
    this.#options.records.sweep();
    return this.#options.records.certificates();
  }

  /** All of a node's, and the join tokens with which it could make another. Serials whose connections are to be ended. @throws RESOURCE_NOT_FOUND */
  async revoke(node: string): Promise<readonly string[]> {
    const { records, tokens } = this.#options;
    const good = records.certificates().filter((one) => one.node === node && one.revokedMs === null);
    if (good.length === 0) {
      throw new BatchError('RESOURCE_NOT_FOUND', `no certificate of a worker node ${node} is good; see \`node list\``);
    }
    await this.#revoke(good);
    await tokens.revokeJoinTokens();
    return good.map(({ name }) => name);
  }

  async #issue(request: EnrollRequest, createdBy: string): Promise<EnrollReply> {
    const { authority, records, lifeMs } = this.#options;
    const createdMs = records.clock.wall();
    if (!isNodeName(request.name)) {
      const found = JSON.stringify(request.name.slice(0, 200));
      throw new BatchError(
        'REQUEST_INVALID',
        `a worker node's name has letters, digits, ".", "_", "-"; found ${found}`,
      );
    }
    const issued = await authority.issueNode(request.certificateRequest, request.name, createdMs, lifeMs);
    records.sweep();
    const isRenewal = createdBy === `node:${request.name}`;
    const before = records.certificates().filter((one) => one.node === request.name && one.revokedMs === null);
    // A renewal leaves the one before to its end: connections were made with it.
    if (!isRenewal) await this.#revoke(before);
    if (records.certificates().length >= limits.tokensMax) {
      throw new BatchError('REQUEST_INVALID', `there are ${limits.tokensMax} certificates of worker nodes already`);
    }
    const { expiresMs } = issued;
    const { serial: name } = issued;
    await records.put({
      ...{ kind: 'certificate', name, node: request.name, createdMs, createdBy, expiresMs, revokedMs: null },
    });
    return { certificate: issued.cert, authority: authority.cert };
  }

  async #revoke(certificates: readonly CertificateResource[]): Promise<void> {
    const { records } = this.#options;
    const revokedMs = records.clock.wall();
    await records.put(...certificates.map((one) => ({ ...one, revokedMs })));
  }

  #refuseTaken(name: NodeName): void {
    if (!this.#options.records.isConnected(name)) return;
    throw new BatchError('NAME_TAKEN', `a worker node named ${name} is connected; choose another --name`);
  }
}
