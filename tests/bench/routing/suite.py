"""The scenarios. Those that are not held out were looked at while the policy was made."""

from __future__ import annotations

from dataclasses import replace

from routing import traces
from routing.scenarios import (
    AGENT,
    CHAT,
    CODE,
    EQUAL,
    FOUR,
    GB,
    M2,
    MIXED,
    MIXED_CPU,
    ONE,
    ONE_SHOT,
    RTX_3060,
    RTX_3090,
    RTX_4090,
    THREE,
    TWELVE,
    Incident,
    Scenario,
    SimModel,
    Stream,
    cluster,
    models,
)

FIVE = models(4.9, 4.7, 2.0, 5.2, 3.3)
SIX = models(4.9, 4.7, 2.0, 5.2, 3.3, 4.4)
BURSTS = replace(CHAT, cv=4.0)
EMBEDDER = SimModel("embedder", 0.3 * GB)
EMBEDDINGS = Stream(traces.SHORT_IN, traces.SHORT_IN, share=0.5, cv=2.0, model=1, is_embedding=True)
LONG_ANSWERS = Stream(traces.SHORT_IN, traces.LONG_OUT, turns=3)
HOG = replace(ONE_SHOT, share=0.7, principals=("hog",))
LIGHT = replace(ONE_SHOT, share=0.3)


SCENARIOS = (
    Scenario("S1", "chat, one model, 55 %", MIXED, ONE, (CHAT,), 0.55, held_out=False),
    Scenario("S2", "chat, one model, 80 %", MIXED, ONE, (CHAT,), 0.8, held_out=False),
    Scenario("S3", "chat, five models", MIXED, FIVE, (CHAT,), 0.55, held_out=False),
    Scenario("S4", "single questions, six models", MIXED, SIX, (ONE_SHOT,), 0.5, held_out=False),
    Scenario(
        "S5", "bursts of code, one node without a GPU", MIXED_CPU, ONE, (CODE,), 0.5, held_out=False
    ),
    Scenario(
        "S6", "chat, one model, equal nodes", EQUAL, ONE, (CHAT,), 0.55, held_out=False, bar="even"
    ),
    Scenario("H1", "three nodes, three models", THREE, models(4.9, 4.7, 2.0), (CHAT,), 0.5),
    Scenario("H2", "twelve nodes, six models, bursts", TWELVE, SIX, (BURSTS,), 0.5),
    Scenario("H3", "twelve nodes, two models, bursts", TWELVE, models(4.9, 4.7), (BURSTS,), 0.65),
    Scenario("H4", "six equal nodes, three models", EQUAL, models(4.9, 4.7, 2.0), (CHAT,), 0.5),
    Scenario("H5", "light load, one model", MIXED, ONE, (CHAT,), 0.2),
    Scenario("H6", "agents with long prompts, two models", FOUR, models(4.9, 4.7), (AGENT,), 0.5),
    Scenario(
        "H7",
        "two lengths of context of one model",
        MIXED,
        ONE,
        (replace(CHAT, contexts=(None, 8_192)),),
        0.5,
    ),
    Scenario(
        "H8",
        "embeddings beside chat",
        FOUR,
        (*ONE, EMBEDDER),
        (replace(CHAT, share=0.5, model=0), EMBEDDINGS),
        0.5,
    ),
    Scenario(
        "H9",
        "eight models on four nodes, more than fit",
        FOUR,
        models(4.9, 4.7, 2.0, 5.2, 3.3, 4.4, 1.3, 8.0),
        (ONE_SHOT,),
        0.3,
    ),
    Scenario(
        "H10",
        "the fastest node becomes four times slower",
        MIXED,
        ONE,
        (CHAT,),
        0.45,
        incidents=(Incident(0.4, "4090-0", slower=4.0),),
    ),
    Scenario(
        "H11",
        "a node dies with its requests, and comes back",
        MIXED,
        models(4.9, 4.7),
        (CHAT,),
        0.45,
        incidents=(Incident(0.4, "3090-0", until=0.6),),
    ),
    Scenario(
        "H12",
        "two equal nodes, one model, long answers",
        cluster((RTX_3090, 2)),
        ONE,
        (LONG_ANSWERS,),
        0.6,
        bar="even",
    ),
    Scenario("H13", "six equal nodes, one model, 80 %", EQUAL, ONE, (ONE_SHOT,), 0.8, bar="even"),
    Scenario(
        "H14",
        "one hog with 70 % of an overload, equal nodes",
        EQUAL,
        ONE,
        (HOG, LIGHT),
        1.3,
        bar="hog",
    ),
    Scenario(
        "H15",
        "one hog with 70 % of an overload, two kinds of nodes",
        cluster((RTX_4090, 1), (RTX_3060, 2), (M2, 1)),
        ONE,
        (HOG, LIGHT),
        1.3,
        bar="hog",
    ),
)

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
