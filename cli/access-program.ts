/** The words of `token`, `secret`, `audit`, and of worker nodes `node token`, `node revoke` and `node certificates`. */
import type { Command } from 'commander';
import type { JoinTokenFlags, TokenFlags } from './commands/access.ts';
import { withServer, type AnswerFlags, type Perform } from './program-parts.ts';

const load = () => import('./commands/access.ts');

export function addAccess(program: Command, perform: Perform): void {
  addTokens(program, perform);
  addSecrets(program, perform);
  withServer(program.command('audit').description('who did what: what changed something or was refused, newest first'))
    .option('--limit <count>', 'so many entries', '100')
    .action(async (flags: AnswerFlags & { limit: string }) => {
      await perform(flags, async (context) => (await load()).auditCommand(context, flags));
    });
}

function addTokens(program: Command, perform: Perform): void {
  const tokens = program.command('token').description('tokens with which people and programs are let in');
  withServer(tokens.command('create').description('make a token; it is shown once'))
    .requiredOption('--user <name>', 'whose it is: owner of the jobs that are submitted with it')
    .requiredOption('--role <role>', 'reader, invoker or admin')
    .option('--ttl <time>', 'how long it is taken, such as 30d or 12h', '90d')
    .action(async (flags: AnswerFlags & TokenFlags) => {
      await perform(flags, async (context) => (await load()).createTokenCommand(context, flags));
    });
  withServer(tokens.command('list').description('list tokens, also those of worker nodes')).action(
    async (flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).listTokensCommand(context));
    },
  );
  withServer(tokens.command('revoke').argument('<id>').description('take a token no more')).action(
    async (id: string, flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).revokeTokenCommand(context, id));
    },
  );
}

function addSecrets(program: Command, perform: Perform): void {
  const secrets = program
    .command('secret')
    .description('values that a deployment refers to as ${secret:NAME} in environment_variables');
  withServer(
    secrets.command('set').argument('<name>').description('keep a value; it is read from standard input'),
  ).action(async (name: string, flags: AnswerFlags) => {
    await perform(flags, async (context) => (await load()).setSecretCommand(context, name));
  });
  withServer(secrets.command('list').description('list names; values are never given back')).action(
    async (flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).listSecretsCommand(context));
    },
  );
  withServer(secrets.command('delete').argument('<name>').description('forget a value')).action(
    async (name: string, flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).deleteSecretCommand(context, name));
    },
  );
}

/** Beside `node list` and `node release`. */
export function addNodeAccess(nodes: Command, perform: Perform): void {
  withServer(nodes.command('token').description('make a token for worker nodes, and print the line to join with'))
    .option('--ttl <time>', 'how long it may be used, such as 1h or 30d', '24h')
    .option('--uses <count>', 'how many nodes may join with it (default: any number)')
    .action(async (flags: AnswerFlags & JoinTokenFlags) => {
      await perform(flags, async (context) => (await load()).joinTokenCommand(context, flags));
    });
  withServer(nodes.command('revoke').argument('<node>').description('shut a worker node out, at once')).action(
    async (name: string, flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).revokeNodeCommand(context, name));
    },
  );
  withServer(nodes.command('certificates').description('list certificates of worker nodes')).action(
    async (flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).certificatesCommand(context));
    },
  );
}
