import type { Plan } from '../../../drizzle/schema.ts'

/** How many people a team of each plan may have: its members, and those with an open invitation. */
export const MEMBER_LIMITS: Readonly<Record<Plan, number>> = { free: 1, starter: 5, pro: Number.POSITIVE_INFINITY }
