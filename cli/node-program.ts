/** The words of `node`: worker nodes that have joined, and what operators do to them. Their tokens are access-program.ts's. */
import type { Command } from 'commander';
import { addNodeAccess } from './access-program.ts';
import type { DrainFlags, LabelFlags, QuarantineFlags } from './commands/nodes.ts';
import { withServer, type AnswerFlags, type Perform } from './program-parts.ts';

const load = () => import('./commands/nodes.ts');

export function addNodes(program: Command, perform: Perform): void {
  const nodes = program.command('node').description('worker nodes that have joined');
  addNodeAccess(nodes, perform);
  withServer(nodes.command('list').description('list worker nodes')).action(async (flags: AnswerFlags) => {
    await perform(flags, async (context) => (await load()).listNodes(context));
  });
  const named = (verb: string, what: string): Command =>
    withServer(nodes.command(verb).argument('<node>').description(what));
  named('show', 'show one worker node').action(async (name: string, flags: AnswerFlags) => {
    await perform(flags, async (context) => (await load()).showNode(context, name));
  });
  const verbs = {
    cordon: 'give a worker node no more work; what it holds goes on',
    uncordon: 'give a cordoned worker node work again',
    release: 'give a quarantined worker node work again',
  } as const;
  for (const verb of ['cordon', 'uncordon', 'release'] as const) {
    named(verb, verbs[verb]).action(async (name: string, flags: AnswerFlags) => {
      await perform(flags, async (context) => (await load()).orderNode(context, name, verb));
    });
  }
  named('drain', 'let a worker node finish what runs, give the rest back and leave; it stays cordoned')
    .option('--deadline <time>', 'kill what still runs then, such as 10m; it is scored elsewhere')
    .option('--wait', 'answer when it has left')
    .action(async (name: string, flags: AnswerFlags & DrainFlags) => {
      await perform(flags, async (context) => (await load()).drainNode(context, name, flags));
    });
  named('quarantine', 'give a worker node no more work, and take back what it holds')
    .option('--reason <text>', 'for whoever looks at it next')
    .action(async (name: string, flags: AnswerFlags & QuarantineFlags) => {
      await perform(flags, async (context) => (await load()).quarantineNode(context, name, flags));
    });
  named('label', 'change labels of a worker node, over those that it joins with')
    .argument('<labels...>', 'key=value sets one, key- takes one away')
    .action(async (name: string, labels: readonly string[], flags: AnswerFlags & LabelFlags) => {
      await perform(flags, async (context) => (await load()).labelNode(context, name, labels));
    });
}
