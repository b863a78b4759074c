"""A model: found, fingerprinted, prompted, opened.

    model = open_model(parse_model("vllm:./checkpoint-500"), ModelOptions())
    model.fingerprint  # from config, tokenizer and sampled blocks of the weights; nothing is loaded
    engine = await model.open_engine()  # loads the weights

``open_model`` is in ``model``, ``parse_model`` in ``checkpoints``; ``prompts`` puts personas into prompts.
"""
