"""CartPole as tokens: one cart or several, learned by PPO or from recorded episodes."""
