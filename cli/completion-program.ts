/** The words of `completion`: what a shell asks to complete our words. */
import { Argument, type Command } from 'commander';
import { shells, type Shell } from './completion-scripts.ts';
import { wordsOf } from './command-words.ts';
import { withServer, type AnswerFlags, type Perform } from './program-parts.ts';

export function addCompletion(program: Command, perform: Perform): void {
  program
    .command('completion')
    .description('print what makes a shell complete the words of this program')
    .addArgument(new Argument('<shell>', 'which shell').choices(shells))
    .addHelpText(
      'after',
      '\nbash: source <(batchmill completion bash)\nzsh:  source <(batchmill completion zsh)\nfish: batchmill completion fish | source',
    )
    .action(async (shell: Shell) => {
      await perform({}, async ({ output }) => {
        const { completionScript } = await import('./completion-scripts.ts');
        output.text(completionScript(shell));
        return 0;
      });
    });
  withServer(program.command('__complete', { hidden: true }))
    .argument('[words...]')
    .allowUnknownOption()
    .helpOption(false)
    .action(async (words: readonly string[], flags: AnswerFlags) => {
      await perform({ ...flags, answer: 'tsv' }, async (context) =>
        (await import('./commands/complete.ts')).completeCommand(context, wordsOf(program), words),
      );
    });
}
