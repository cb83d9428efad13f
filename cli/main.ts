#!/usr/bin/env node
/** The `batchmill` program: hands this process's own streams and signals to the command line. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { systemClock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import { errnoOf } from '../common/io/errno.ts';
import { packageFile } from '../common/io/package-files.ts';
import { commandEnvironment } from '../common/config/process-settings.ts';
import type { Sink } from './output.ts';
import { installedProcesses } from './processes.ts';
import { runCli } from './run-cli.ts';
import { sourceOf } from './stdin-source.ts';

const signals = ['SIGINT', 'SIGTERM'] as const;
/** What is written to a reader, or to a terminal, that is gone. */
const goneCodes: readonly (string | null)[] = ['EPIPE', 'EIO'];

function sinkOf(stream: NodeJS.WriteStream): Sink {
  return {
    write: (text) => void stream.write(text),
    isTerminal: stream.isTTY,
    columns: stream.columns || 80,
  };
}

function onInterrupt(handler: () => void): () => void {
  let isTold = false;
  const tell = (): void => {
    isTold = true;
    handler();
  };
  // Of a terminal that goes both the kernel and the shell tell: that is nobody who is in a hurry.
  const hangUp = (): void => void (isTold || tell());
  signals.forEach((signal) => process.on(signal, tell));
  process.on('SIGHUP', hangUp);
  return () => {
    signals.forEach((signal) => process.off(signal, tell));
    process.off('SIGHUP', hangUp);
  };
}

/** Leaves the browser to itself. */
function openUrl(url: string): void {
  const child = spawn(process.platform === 'darwin' ? 'open' : 'xdg-open', [url], { stdio: 'ignore', detached: true });
  child.on('error', () => undefined);
  child.unref();
}

// Whoever reads has seen enough, as `head` does.
process.stdout.on('error', (error) => {
  if (goneCodes.includes(errnoOf(error))) process.exit(0);
  throw error;
});
// What is done goes on without those who watch it.
process.stderr.on('error', (error) => {
  if (!goneCodes.includes(errnoOf(error))) throw error;
});

const manifest = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { readonly version: string };

// What ends before it has answered has failed.
process.exitCode = 1;
void runCli(process.argv.slice(2), {
  stdout: sinkOf(process.stdout),
  stderr: sinkOf(process.stderr),
  cwd: process.cwd(),
  clock: systemClock,
  delay,
  environment: commandEnvironment(),
  processes: installedProcesses,
  release: manifest.version,
  onInterrupt,
  exit: (code) => process.exit(code),
  stdin: sourceOf(process.stdin),
  openUrl,
}).then((code) => {
  process.exitCode = code;
});
