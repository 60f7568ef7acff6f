"""What identifiers, genomes and symbols reveal of a species: tables, and nothing decided."""

from __future__ import annotations

import re

# https://www.ensembl.org/info/genome/stable_ids/prefixes.html: those of ENS<prefix>G00000000001.
ENSEMBL_PREFIXES = {
    "": "human",
    "MUS": "mouse",
    "RNO": "rat",
    "MMU": "macaque",
    "MFA": "crab-eating macaque",
    "MNE": "pig-tailed macaque",
    "PTR": "chimpanzee",
    "PPA": "bonobo",
    "GGO": "gorilla",
    "PPY": "orangutan",
    "NLE": "gibbon",
    "CJA": "marmoset",
    "CSA": "vervet",
    "PAN": "baboon",
    "MIC": "mouse lemur",
    "SSC": "pig",
    "BTA": "cow",
    "OAR": "sheep",
    "CHI": "goat",
    "ECA": "horse",
    "CAF": "dog",
    "FCA": "cat",
    "OCU": "rabbit",
    "CPO": "guinea pig",
    "MAU": "golden hamster",
    "CGR": "Chinese hamster",
    "MPU": "ferret",
    "MOD": "opossum",
    "OAN": "platypus",
    "GAL": "chicken",
    "TGU": "zebra finch",
    "ACA": "anole lizard",
    "XET": "Xenopus tropicalis",
    "DAR": "zebrafish",
    "ORL": "medaka",
    "GAC": "stickleback",
    "TRU": "fugu",
    "CIN": "Ciona intestinalis",
}
ENSEMBL_ID = re.compile(r"^ENS([A-Z]*?)[GTPE]\d{9,}")
# Of model organisms with identifiers of their own.
OTHER_IDS = {
    "fly": re.compile(r"^FBgn\d{7}"),
    "worm": re.compile(r"^WBGene\d{8}"),
    "Arabidopsis thaliana": re.compile(r"^AT[1-5CM]G\d{5}"),
    "mouse": re.compile(r"^MGI:\d+"),
    "human": re.compile(r"^HGNC:\d+"),
    "rat": re.compile(r"^RGD:\d+"),
}
# Names of assemblies, of Ensembl, NCBI and UCSC, at the beginning of what var["genome"] holds.
GENOMES = {
    "human": r"GRCh\d|hg1[6-9]|hg38|T2T|CHM13|hs1\b|human|homo_sapiens",
    "mouse": r"GRCm\d|mm(?:9|10|39)|mouse|mus_musculus",
    "rat": r"mRatBN|Rnor|RGSC|GRCr\d|rn[4-8]|rat(?:$|[_\W])|rattus_norvegicus",
    "macaque": r"Mmul|rheMac|macaca_mulatta",
    "crab-eating macaque": r"Macaca_fascicularis|macFas|MFA1912",
    "chimpanzee": r"Pan_tro|panTro|CHIMP",
    "marmoset": r"mCalJac|calJac|callithrix",
    "zebrafish": r"GRCz\d|danRer|Zv9|danio_rerio",
    "pig": r"Sscrofa|susScr|sus_scrofa",
    "cow": r"ARS-UCD|UMD_?3|bosTau|bos_taurus",
    "sheep": r"Oar_|ARS-UI_Ramb|oviAri|ovis_aries",
    "horse": r"EquCab|equus_caballus",
    "dog": r"CanFam|ROS_Cfam|Dog10K|canis",
    "rabbit": r"OryCun|oryctolagus",
    "chicken": r"GRCg\d|bGalGal|galGal|gallus_gallus",
    "fly": r"BDGP|dm[36]\b|drosophila",
    "worm": r"WBcel|ce1[01]\b|caenorhabditis",
    "Xenopus tropicalis": r"UCB_Xtro|xenTro|XENTR",
}
GENOME_NAMES = {name: re.compile(f"^(?:{form})", re.I) for name, form in GENOMES.items()}
# Symbols that no other species has, as they are written there.
ONLY = {
    "human": re.compile(
        r"^(?:HLA-[A-Z]|LINC\d{5}|C(?:\d{1,2}|X)orf\d|MIR\d+[A-Z]{0,3}HG$|RP\d+-\d+[A-Z]+\d*\.\d"
        r"|CT[ABCD]-\d|A[CLPFDJ]\d{6}\.\d|MT-[A-Z]|[A-Z0-9]{2,}-AS\d$)"
    ),
    "mouse": re.compile(r"^(?:Gm\d{3,}$|[A-Z0-9]{6,}Rik$|\d{7}[a-p]\d\drik$|H2-[A-Z]|mt-[A-Z])"),
    "rat": re.compile(r"^(?:RT1-|RGD\d{5,}|AABR\d|AY172581|Mt-[a-z])"),
    "macaque": re.compile(r"^(?:MAMU-|Mamu-)"),
    "pig": re.compile(r"^SLA-(?:\d|D)"),
    "dog": re.compile(r"^DLA-"),
    "cow": re.compile(r"^BOLA-"),
    "zebrafish": re.compile(r"^(?:si:[a-z]|zgc:\d|mt-[a-z]+\d)"),
}
# As someone writes them who makes all symbols upper-case.
RAISED_MOUSE = re.compile(r"^(?:GM\d{4,}$|\d{7}[A-P]\d\dRIK$|H2-K1$)")
