/** Entity tags of single things. @source RFC 9110 section 8.8 and 13.1.2 */
import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import * as z from 'zod';

/** Of a GET that answers with {@link sendTagged}. */
export const tagHeaders: z.ZodObject<{ 'if-none-match': z.ZodOptional<z.ZodString> }> = z.object({
  'if-none-match': z.string().optional().describe('the ETag of what is known already'),
});

/** The reply that goes with it. */
export const notModified: z.ZodNull = z.null().describe('it is as known');

/** Weak: of a thing that has no number of its own for its versions, by what it looks like. */
export function weakTag(view: unknown): string {
  return `W/"${createHash('sha256').update(JSON.stringify(view)).digest('base64url').slice(0, 22)}"`;
}

/** Answers with the view, or with 304 when the caller has it already. */
export function sendTagged<T>(
  request: Pick<FastifyRequest, 'headers'>,
  reply: FastifyReply,
  view: T,
  tag: string = weakTag(view),
): FastifyReply {
  void reply.header('etag', tag).header('cache-control', 'no-cache');
  return isKnown(request.headers['if-none-match'], tag) ? reply.code(304).send(null) : reply.send(view);
}

/** Compared weakly, as the standard has it for this header. */
function isKnown(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false;
  const plain = (text: string): string => text.trim().replace(/^W\//, '');
  return header.trim() === '*' || header.split(',').some((one) => plain(one) === plain(tag));
}
