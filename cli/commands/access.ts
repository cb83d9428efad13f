/** `token`, `secret`, `audit`, and of worker nodes `node token` and `node revoke`. */
import * as z from 'zod';
import { asAgeMs, asCount } from '../../common/config/process-settings.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { CommandContext } from '../command-context.ts';
import type { Column } from '../table.ts';

const text = z.string();

const tokenReply = z.looseObject({
  id: text,
  user: text,
  role: text,
  created_at: text,
  created_by: text,
  expires_at: text,
  last_used_at: text.nullable(),
  uses_left: z.number().nullable(),
});
type Token = z.infer<typeof tokenReply>;
const madeReply = tokenReply.extend({ token: text });
const joinReply = madeReply.extend({ join: text });
const tokensReply = z.looseObject({ value: z.array(tokenReply) });

const certificatesReply = z.looseObject({
  value: z.array(
    z.looseObject({ serial: text, node: text, created_at: text, expires_at: text, revoked_at: text.nullable() }),
  ),
});
type Certificate = z.infer<typeof certificatesReply>['value'][number];

const secretReply = z.looseObject({ name: text, changed_at: text });
const secretsReply = z.looseObject({ value: z.array(secretReply) });

const auditReply = z.looseObject({
  value: z.array(
    z.looseObject({
      time: text,
      user: text.nullable(),
      token_id: text.nullable(),
      remote: text.nullable(),
      method: text,
      path: text,
      resource: text.nullable(),
      status: z.number(),
    }),
  ),
  next: text.nullable(),
});
type AuditEntry = z.infer<typeof auditReply>['value'][number];

const tokenColumns: readonly Column<Token>[] = [
  { title: 'id', value: ({ id }) => id },
  { title: 'user', value: ({ user }) => user },
  { title: 'role', value: ({ role }) => role },
  { title: 'created', value: (one) => one.created_at },
  { title: 'expires', value: (one) => one.expires_at },
  { title: 'last used', value: (one) => one.last_used_at },
  { title: 'uses left', value: (one) => one.uses_left },
];
const madeSheet: readonly Column<z.infer<typeof madeReply>>[] = [
  ...tokenColumns,
  { title: 'token', value: ({ token }) => token },
];
const joinSheet: readonly Column<z.infer<typeof joinReply>>[] = [
  { title: 'expires', value: (one) => one.expires_at },
  { title: 'uses left', value: (one) => one.uses_left },
  { title: 'join with', value: ({ join }) => join },
];
const certificateColumns: readonly Column<Certificate>[] = [
  { title: 'node', value: ({ node }) => node },
  { title: 'serial', value: ({ serial }) => serial },
  { title: 'created', value: (one) => one.created_at },
  { title: 'expires', value: (one) => one.expires_at },
  { title: 'revoked', value: (one) => one.revoked_at },
];
const secretColumns: readonly Column<z.infer<typeof secretReply>>[] = [
  { title: 'name', value: ({ name }) => name },
  { title: 'changed', value: (one) => one.changed_at },
];
const auditColumns: readonly Column<AuditEntry>[] = [
  { title: 'time', value: ({ time }) => time },
  { title: 'user', value: ({ user }) => user },
  { title: 'token', value: (one) => one.token_id },
  { title: 'from', value: ({ remote }) => remote },
  { title: 'status', value: ({ status }) => status },
  { title: 'what', value: ({ method, path }) => `${method} ${path}`.trim() },
  { title: 'resource', value: ({ resource }) => resource },
];

export interface TokenFlags {
  readonly user: string;
  readonly role: string;
  readonly ttl: string;
}

export async function createTokenCommand({ transport, output }: CommandContext, flags: TokenFlags): Promise<number> {
  const { user, role, ttl } = flags;
  const body = { user, role, ttl_seconds: asAgeMs(ttl, '--ttl') / 1_000 };
  const made = madeReply.parse((await (await transport()).ask('POST', '/v1/tokens', { body })).value);
  output.note('the token is shown this once');
  output.item(made, madeSheet);
  return 0;
}

export async function listTokensCommand({ transport, output }: CommandContext): Promise<number> {
  output.list(tokensReply.parse((await (await transport()).ask('GET', '/v1/tokens')).value).value, tokenColumns);
  return 0;
}

export async function revokeTokenCommand({ transport, output }: CommandContext, id: string): Promise<number> {
  await (await transport()).ask('DELETE', `/v1/tokens/${encodeURIComponent(id)}`);
  output.note(`token ${id} is not taken any more`);
  return 0;
}

export interface JoinTokenFlags {
  readonly ttl: string;
  readonly uses?: string;
}

export async function joinTokenCommand({ transport, output }: CommandContext, flags: JoinTokenFlags): Promise<number> {
  const uses = flags.uses === undefined ? {} : { uses: asCount(flags.uses, '--uses') };
  const body = { ttl_seconds: asAgeMs(flags.ttl, '--ttl') / 1_000, ...uses };
  const { value } = await (await transport()).ask('POST', '/v1/nodes/tokens', { body });
  output.item(joinReply.parse(value), joinSheet);
  return 0;
}

export async function revokeNodeCommand({ transport, output }: CommandContext, name: string): Promise<number> {
  const { value } = await (await transport()).ask('POST', `/v1/nodes/${encodeURIComponent(name)}/revoke`, { body: {} });
  output.note(
    `worker node ${name} is shut out; join tokens are not taken any more, \`batchmill node token\` makes one`,
  );
  output.list(certificatesReply.parse(value).value, certificateColumns);
  return 0;
}

export async function certificatesCommand({ transport, output }: CommandContext): Promise<number> {
  const { value } = await (await transport()).ask('GET', '/v1/nodes/certificates');
  output.list(certificatesReply.parse(value).value, certificateColumns);
  return 0;
}

/** The value comes from standard input, never from the command line, which everybody on the machine may see. */
export async function setSecretCommand(context: CommandContext, name: string): Promise<number> {
  const { host, transport, output } = context;
  if (host.stdin.isTerminal) output.note(`value of ${name}, then Enter; it is not shown:`);
  const given = host.stdin.isTerminal ? await host.stdin.secretLine() : await host.stdin.all();
  // As files and `echo` end it; one that is to end so has two.
  const value = given.replace(/\r?\n$/, '');
  if (value === '')
    throw new BatchError('USAGE', `wanted the value of secret ${name} on standard input, found nothing`);
  const { value: reply } = await (
    await transport()
  ).ask('PUT', `/v1/secrets/${encodeURIComponent(name)}`, { body: { value } });
  output.item(secretReply.parse(reply), secretColumns);
  return 0;
}

export async function listSecretsCommand({ transport, output }: CommandContext): Promise<number> {
  output.list(secretsReply.parse((await (await transport()).ask('GET', '/v1/secrets')).value).value, secretColumns);
  return 0;
}

export async function deleteSecretCommand({ transport, output }: CommandContext, name: string): Promise<number> {
  await (await transport()).ask('DELETE', `/v1/secrets/${encodeURIComponent(name)}`);
  output.note(`secret ${name} is forgotten; jobs that refer to it fail`);
  return 0;
}

export async function auditCommand({ transport, output }: CommandContext, flags: { limit: string }): Promise<number> {
  const limit = asCount(flags.limit, '--limit');
  const { value } = await (await transport()).ask('GET', `/v1/audit?limit=${limit}`);
  output.list(auditReply.parse(value).value, auditColumns);
  return 0;
}
