/** What a worker node's message asks of the ledger, in the order in which it must be dealt with. */
import type { NodeMessage, ResultReport } from '../../common/core/cluster-messages.ts';
import type { NodeName } from '../../common/core/ids.ts';
import type { Command } from './commands.ts';

/**
 * Hello first, since it says what the node holds; a heartbeat after the results that were sent with it, so that a lease
 * whose result has just come is not found missing; more work last, when what is done has made room.
 */
export function nodeCommands(node: NodeName, message: NodeMessage, wallMs: number): readonly Command[] {
  const commands: Command[] = [];
  if (message.hello) commands.push({ kind: 'hello', node, held: message.hello });
  if (message.started.length > 0) commands.push({ kind: 'started', node, tokens: message.started });
  for (const report of message.results) {
    commands.push(resultCommand(node, report));
  }
  for (const { token, failure, fileIndex, circumstances } of message.failures) {
    commands.push({ kind: 'attempt-failed', node, token, failure, fileIndex, circumstances });
  }
  for (const { job, failure } of message.hostFailures) {
    commands.push({ kind: 'host-failed', node, job, failure, wallMs });
  }
  for (const { job, text } of message.preparations) commands.push({ kind: 'preparing', node, job, text });
  if (message.returned.length > 0) commands.push({ kind: 'returned', node, tokens: message.returned });
  if (message.heartbeat) commands.push({ kind: 'heartbeat', node, held: message.heartbeat.held });
  if (message.isLeaving) commands.push({ kind: 'leaving', node });
  if (message.want > 0) commands.push({ kind: 'want', node, leases: message.want });
  return commands;
}

/** A result whose bytes are here. */
export function resultCommand(node: NodeName, report: ResultReport): Command {
  const { token, summary, bytes: length, crc32, customBytes: customLength, customCrc32, shadow } = report;
  const beside = shadow ? { shadow } : {};
  return { kind: 'result', node, token, summary, length, crc32, customLength, customCrc32, ...beside };
}
