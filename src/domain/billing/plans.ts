import type { PLANS } from '../../../drizzle/schema.ts'

export type Plan = (typeof PLANS)[number]

/** How many people may be in a team, those who are invited counted with those who are in it. */
export const MEMBER_LIMITS: Readonly<Record<Plan, number>> = { free: 1, starter: 5, pro: Number.POSITIVE_INFINITY }
