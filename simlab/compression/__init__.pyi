# The public names and where they live: read by lazy_loader at run time and by type checkers.
from .blockwise import Blockwise as Blockwise
from .codes.adaptive_code import (
    count_adaptive_bits as count_adaptive_bits,
    decode_adaptive as decode_adaptive,
    encode_adaptive as encode_adaptive,
    expected_adaptive_bits as expected_adaptive_bits,
)
from .codes.bitstream import CorruptStreamError as CorruptStreamError
from .codes.code import (
    Code as Code,
    empirical_entropy as empirical_entropy,
    fixed_length_bits as fixed_length_bits,
    float32_bits as float32_bits,
    source_code as source_code,
)
from .codes.elias_code import (
    count_elias_bits as count_elias_bits,
    decode_elias as decode_elias,
    encode_elias as encode_elias,
    expected_elias_bits as expected_elias_bits,
)
from .codes.golomb import golomb_expected_length as golomb_expected_length
from .codes.level_code import (
    count_bits as count_bits,
    decode as decode,
    encode as encode,
    expected_bits as expected_bits,
)
from .contraction import check_contraction as check_contraction, check_unbiased as check_unbiased
from .conversions import Induced as Induced, Scaled as Scaled
from .elementary import Identity as Identity, OneBit as OneBit, Sign as Sign
from .low_rank import RankOne as RankOne
from .natural import Natural as Natural
from .permutation import PermK as PermK
from .quantizers import QSGD as QSGD, DitheredUniform as DitheredUniform
from .sparsifiers import RandomK as RandomK, RTopK as RTopK, TopK as TopK
