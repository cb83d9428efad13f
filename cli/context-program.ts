/** The words of `context`: which coordinators a person talks to. */
import type { Command } from 'commander';
import type { ContextAddFlags } from './commands/context.ts';
import { withAnswer, type AnswerFlags, type Perform } from './program-parts.ts';

const load = () => import('./commands/context.ts');

export function addContexts(program: Command, perform: Perform): void {
  const group = program
    .command('context')
    .description('coordinators by names of your own, with address, certificate and token');
  withAnswer(group.command('add').description('add one; the first is used from then on'))
    .argument('<name>')
    .requiredOption(
      '--server <host:port>',
      'HTTP address of the coordinator; of several, with commas between, the one that leads',
    )
    .option('--ca-file <file>', 'certificate of the authority that signs its certificate, PEM')
    .option(
      '--ca-fingerprint <sha256:…>',
      'fingerprint of that authority; without --ca-file it is fetched and compared',
    )
    .option('--token <token>', 'bearer token; - reads it from stdin')
    .option('--insecure', 'no TLS')
    .option('--use', 'it is the one that is used from now on')
    .action(async (name: string, flags: AnswerFlags & ContextAddFlags) => {
      await perform(flags, async (context) => (await load()).addContextCommand(context, name, flags));
    });
  withAnswer(group.command('use').description('use this one from now on'))
    .argument('<name>')
    .action(async (name: string, flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).useContextCommand(context, name));
    });
  withAnswer(group.command('list').description('list them')).action(async (flags: AnswerFlags) => {
    await perform(flags, async (context) => (await load()).listContextsCommand(context));
  });
  withAnswer(group.command('show').description('show one; the one that is used when none is named'))
    .argument('[name]')
    .action(async (name: string | undefined, flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).showContextCommand(context, name ?? null));
    });
  withAnswer(group.command('remove').description('forget one'))
    .argument('<name>')
    .action(async (name: string, flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).removeContextCommand(context, name));
    });
}
