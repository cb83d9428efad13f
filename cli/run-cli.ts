/** From arguments to an exit code: the only place where errors end. */
import { CommanderError, type Command } from 'commander';
import { isColorWanted } from '../common/config/process-settings.ts';
import { BatchError, toBatchError } from '../common/core/batch-error.ts';
import { normaliseArguments } from './arguments.ts';
import type { CliHost, CommandContext } from './command-context.ts';
import { wordsOf } from './command-words.ts';
import type { OpenConnection } from './connection.ts';
import { createOutput, type Output } from './output.ts';
import type { AnswerFlags } from './program-parts.ts';
import { buildProgram } from './program.ts';

/** Never throws; what went wrong is on stderr and in the exit code. `args` are without node and script. */
export async function runCli(args: readonly string[], host: CliHost): Promise<number> {
  let isDebug = false;
  let output = await outputFor(host, {}, isDebug);
  let exitCode = 0;
  const program = buildProgram(host.release, async (flags, body) => {
    output = await outputFor(host, flags, isDebug);
    exitCode = await body(contextFor(host, flags, output));
  });
  sendTo(program, host);
  try {
    const normal = normaliseArguments(args, wordsOf(program));
    ({ isDebug } = normal);
    await program.parseAsync(normal.args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const failure = error instanceof CommanderError ? usageError(error) : toBatchError(error);
    output.failure(failure);
    return failure.rule.exit;
  }
}

/** @throws USAGE for a query that is none, before anything is done */
async function outputFor(host: CliHost, flags: AnswerFlags, isDebug: boolean): Promise<Output> {
  const { stdout, stderr, clock, environment } = host;
  const hasColor = {
    stdout: isColorWanted(stdout.isTerminal, environment),
    stderr: isColorWanted(stderr.isTerminal, environment),
  };
  const select = flags.query === undefined ? null : (await import('./query.ts')).compileQuery(flags.query);
  return await createOutput({ stdout, stderr, clock, hasColor, select, isDebug, format: flags.answer ?? null });
}

function contextFor(host: CliHost, flags: AnswerFlags, output: Output): CommandContext {
  const open = async (): Promise<OpenConnection> => {
    const { connectionSetting } = await import('../common/config/contexts.ts');
    const connection = await connectionSetting(flags, host.environment);
    return (await import('./connection.ts')).openConnection(connection);
  };
  // One for all that a command asks: each costs both sides a handshake.
  let opened: Promise<OpenConnection> | null = null;
  const connection = (): Promise<OpenConnection> => (opened ??= open());
  const client: CommandContext['client'] = async (signal) =>
    (await import('./client.ts')).clientOf(await connection(), signal);
  const transport: CommandContext['transport'] = async () => {
    const { createTransport } = await import('./api/transport.ts');
    const { origin, send } = await connection();
    return createTransport(origin, send);
  };
  return { host, output, client, transport };
}

/** Help goes to stdout when it was asked for; errors are left to {@link runCli}. */
function sendTo(command: Command, host: CliHost): void {
  command.exitOverride();
  command.configureOutput({
    writeOut: (text) => host.stdout.write(text),
    writeErr: (text) => host.stderr.write(text),
    outputError: () => undefined,
    getOutHelpWidth: () => host.stdout.columns,
    getErrHelpWidth: () => host.stderr.columns,
  });
  command.commands.forEach((one) => sendTo(one, host));
}

function usageError(error: CommanderError): BatchError {
  // A group without a command has shown its help; there is nothing to add but what is missing.
  const text = error.code === 'commander.help' ? 'wanted a command, found none' : error.message.replace(/^error: /, '');
  const isFormat = error.code === 'commander.unknownOption' && text.includes("'--json'");
  const advice = isFormat ? '; the form of the answer is chosen with -o, such as -o json' : '';
  return new BatchError('USAGE', text + advice, { cause: error });
}
