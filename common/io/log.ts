/**
 * The log: JSON lines for machines, one readable line for a terminal. It never holds secrets or row values.
 * A job's change is `info`, a mini-batch `debug`.
 */
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';

export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Facts of a line, by name; an error code goes as `code`. */
export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export interface Log {
  readonly debug: (message: string, fields?: LogFields) => void;
  readonly info: (message: string, fields?: LogFields) => void;
  readonly warn: (message: string, fields?: LogFields) => void;
  readonly error: (message: string, fields?: LogFields) => void;
  /** The same log with `fields` on every line. */
  readonly with: (fields: LogFields) => Log;
}

export interface LogOptions {
  /** Where lines go, each with its newline. */
  readonly write: (line: string) => void;
  readonly format: 'json' | 'text';
  /** Lines below it are dropped. */
  readonly level: LogLevel;
  readonly clock: Clock;
}

export function createLog(options: LogOptions): Log {
  return logWith(options, {});
}

/** To stderr, since stdout belongs to what a command answers: readable on a terminal, JSON lines otherwise. */
export function stderrLog(level: LogLevel): Log {
  return createLog({
    write: (line) => void process.stderr.write(line),
    format: process.stderr.isTTY ? 'text' : 'json',
    level,
    clock: systemClock,
  });
}

/** For tests and for callers who have no use for lines. */
export const silentLog: Log = createLog({ write: () => undefined, format: 'text', level: 'error', clock: systemClock });

function logWith(options: LogOptions, bound: LogFields): Log {
  const render = options.format === 'json' ? jsonLine : textLine;
  const lowest = logLevels.indexOf(options.level);
  const at = (level: LogLevel) => {
    const isDropped = logLevels.indexOf(level) < lowest;
    return (message: string, fields: LogFields = {}): void => {
      if (!isDropped) options.write(render(options.clock.wall(), level, message, { ...bound, ...fields }));
    };
  };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    with: (fields) => logWith(options, { ...bound, ...fields }),
  };
}

function jsonLine(wallMs: number, level: LogLevel, message: string, fields: LogFields): string {
  return `${JSON.stringify({ time: new Date(wallMs).toISOString(), level, message, ...fields })}\n`;
}

function textLine(wallMs: number, level: LogLevel, message: string, fields: LogFields): string {
  const time = new Date(wallMs).toISOString().slice(11, 19);
  const sign = level === 'info' || level === 'debug' ? '' : `${level}: `;
  const facts = Object.entries(fields).map(([name, value]) => ` ${name}=${textValue(value)}`);
  // One event is one line, whatever a message quotes.
  return `${time} ${sign}${message.replaceAll('\n', '\\n')}${facts.join('')}\n`;
}

function textValue(value: LogFields[string]): string {
  const text = String(value);
  return /^[\w.:/+@-]+$/.test(text) ? text : JSON.stringify(text);
}
