/** The words of `allocator`. */
import type { Command } from 'commander';
import type { AllocatorFlags } from './commands/allocator.ts';
import { withServer, type AnswerFlags, type Perform } from './program-parts.ts';

export function addAllocator(program: Command, perform: Perform): void {
  const group = program.command('allocator').description('starts worker nodes when there is work, and lets them go');
  withServer(group.command('slurm').description('submits worker nodes to Slurm for a compute; it runs until Ctrl-C'))
    .requiredOption('--compute <name>', 'compute of type slurm, see `compute create`')
    .option(
      '--coordinator <host:port>',
      'address that worker nodes join, or several: alpha:7077,beta:7077 (or BATCHMILL_COORDINATOR)',
    )
    .option('--log-dir <dir>', 'what worker nodes say, a folder for each Slurm job (default: batchmill-logs)')
    .action(async (flags: AnswerFlags & AllocatorFlags) => {
      await perform(flags, async (context) => (await import('./commands/allocator.ts')).slurmAllocator(context, flags));
    });
}
